"""Every call of openstacksdk's image layer: what it returns and leaves, at Glance and at ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import GeneratorType
from typing import Any
from uuid import uuid4

import openstack
import openstack.image.v2._proxy
import pytest
import requests

from conformance.sdk_calls import CALLS, Cloud, Step
from differential.sides import LEFT_OUT
from harness.glance import FileServer, Glance
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, MEMBER, STRANGER, Keystone
from harness.shell import plain_text
from harness.widest import running_widest

USERS = {"admin": ADMIN, "member": MEMBER, "stranger": STRANGER}
NOT_ABOUT_IMAGES = {"request", "should_skip_resource_cleanup"}
pytestmark = pytest.mark.filterwarnings("ignore")  # it warns of itself


@pytest.fixture(scope="module")
def urls(
    keystone: Keystone, glance_widest: Glance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    with running_widest(tmp_path_factory.mktemp("widest"), keystone) as node:
        yield glance_widest.url, node.url


class Layers(Mapping[str, Any]):
    """The image layers of users' connections, each made when it is asked for."""

    def __init__(self, keystone: Keystone, url: str, closing: ExitStack) -> None:
        self._keystone, self._url, self._closing = keystone, url, closing
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            user = USERS[name]
            named = {"username": user.name, "password": user.password}
            domains = {"user_domain_id": "default", "project_domain_id": "default"}
            where = {"auth_url": self._keystone.url, "project_name": user.project}
            connection = openstack.connect(
                load_yaml_config=False,
                load_envvars=False,
                auth={**where, **named, **domains},
                region_name="RegionOne",
                image_endpoint_override=self._url,
            )
            self._closing.enter_context(connection)
            self._closing.callback(connection.session.session.close)  # what goes to Keystone
            self._made[name] = connection.image
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(USERS)

    def __len__(self) -> int:
        return len(USERS)


@pytest.fixture
def layers(urls: tuple[str, str], keystone: Keystone) -> Iterator[list[Layers]]:
    with ExitStack() as closing:
        yield [Layers(keystone, url, closing) for url in urls]


@pytest.mark.parametrize("name", CALLS)
def test_calls(
    layers: list[Layers],
    keystone: Keystone,
    files: FileServer,
    urls: tuple[str, str],
    name: str,
    tmp_path: Path,
) -> None:
    names = {"project": keystone.project_id(STRANGER), "image": str(uuid4()), "web": files.url}
    clouds = [Cloud(each, **names, directory=tmp_path) for each in layers]
    headers = {"X-Auth-Token": keystone.token(ADMIN)}
    for step in CALLS[name]:
        theirs, ours = (outcome(step, cloud) for cloud in clouds)
        assert ours == theirs
        records = []
        for url in urls:
            api = ImagesApi(url, headers)
            if api.call("GET", f"/{names['image']}").status == 200:
                api.settle(names["image"])
                records.append(told(api.show(names["image"])))
        assert records[1:] == records[:1]


def outcome(step: Step, cloud: Cloud) -> Any:
    """Return what a step returns or raises, as it is the same on all sides."""
    try:
        found = step(cloud)
        return told(list(found) if isinstance(found, GeneratorType) else found)
    except openstack.exceptions.SDKException as error:
        return type(error).__name__, getattr(error, "status_code", None)


def told(found: Any) -> Any:
    """Return a document without what differs by nature."""
    if isinstance(found, requests.Response):
        return found.status_code, found.content
    if isinstance(found, openstack.resource.Resource):
        found = found.to_dict()
    if isinstance(found, dict):
        return {
            name: told(sorted(each) if name == "tags" and each else each)
            for name, each in found.items()
            if name not in LEFT_OUT
        }
    if isinstance(found, list):
        return [told(each) for each in found]
    return plain_text(found) if isinstance(found, str) else found


def test_no_call_is_missing() -> None:
    layer = openstack.image.v2._proxy.Proxy
    calls = {name for name in vars(layer) if not name.startswith("_") and "metadef" not in name}
    about_images = {name for name in calls if callable(getattr(layer, name))}
    assert about_images - NOT_ABOUT_IMAGES == set(CALLS)
