"""Locations that are added by their own call: the real Glance and our catalog do the same, with Keystone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.catalog import STORES_OF_GLANCE, THIS_MACHINE, WITH_KEYSTONE, running_catalog
from harness.glance import FileServer, Glance
from harness.images_api import ImagesApi
from harness.keystone import GLANCE, MEMBER, Keystone
from harness.waiting import until

DATA = b"located" * 100
OTHER = b"another" * 50
SHA512 = hashlib.sha512(DATA).hexdigest()
ONE = "{web}/one"


@dataclass(frozen=True, slots=True)
class Both:
    """Two endpoints that should do the same, and a web server with files for both."""

    glance: ImagesApi
    ours: ImagesApi
    web: str

    def services(self, keystone: Keystone) -> Both:
        """Return them as a service is seen there."""
        headers = {"X-Auth-Token": keystone.token(GLANCE)}
        return Both(
            ImagesApi(self.glance.url, headers), ImagesApi(self.ours.url, headers), self.web
        )


@pytest.fixture(scope="module")
def both(
    glance: Glance,
    keystone: Keystone,
    file_server: FileServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Both]:
    for name, data in {"one": DATA, "other": OTHER, "empty": b""}.items():
        (file_server.directory / name).write_bytes(data)
    directory = tmp_path_factory.mktemp("catalog")
    more = (STORES_OF_GLANCE + WITH_KEYSTONE + THIS_MACHINE).format(
        directory=directory, keystone=keystone.url
    )
    headers = {"X-Auth-Token": keystone.token(MEMBER)}
    with running_catalog(directory, more) as catalog:
        yield Both(ImagesApi(glance.url, headers), ImagesApi(catalog.url, headers), file_server.url)


@dataclass(frozen=True, slots=True)
class Added:
    """A request to add a location to a new image, and what becomes of it."""

    title: str
    body: Any
    fields: tuple[tuple[str, Any], ...] = ()
    data: bool = False
    otherwise: tuple[int, int] | None = None  # Glance's status, ours


def hashed(algorithm: str = "sha512", value: str | None = None) -> dict[str, str]:
    if value is None:
        value = hashlib.new(algorithm, DATA).hexdigest()
    return {"os_hash_algo": algorithm, "os_hash_value": value}


# Glance looks at the place when it has answered, and then tells nobody but its task.
LATER = (202, 400)
ADDED = [
    Added("without a hash", {"url": ONE}),
    Added("with its hash", {"url": ONE, "validation_data": hashed()}),
    Added("with another algorithm's", {"url": ONE, "validation_data": hashed("sha256")}),
    Added("with its md5", {"url": ONE, "validation_data": hashed("md5")}),
    Added("with a hash in capitals", {"url": ONE, "validation_data": hashed(value="x" * 128)}),
    Added("with a short hash", {"url": ONE, "validation_data": hashed(value="00")}),
    Added("with an unknown algorithm", {"url": ONE, "validation_data": hashed("sha224")}),
    Added("with a hash alone", {"url": ONE, "validation_data": {"os_hash_value": SHA512}}),
    Added("with an algorithm alone", {"url": ONE, "validation_data": {"os_hash_algo": "sha512"}}),
    Added("with a checksum", {"url": ONE, "validation_data": {"checksum": "0" * 32}}),
    Added("with nothing to validate", {"url": ONE, "validation_data": {}}),
    Added("with no object to validate", {"url": ONE, "validation_data": None}),
    Added("with something else", {"url": ONE, "do_secure_hash": False}),
    Added("no url", {}),
    Added("no text", {"url": 1}),
    Added("no object", []),
    Added("empty", {"url": ""}),
    Added("an image with data", {"url": ONE}, data=True),
    Added("without a format", {"url": ONE}, fields=(("disk_format", None),), otherwise=LATER),
    Added("nothing there", {"url": "{web}/absent"}, otherwise=LATER),
    Added("nothing in it", {"url": "{web}/empty"}, otherwise=LATER),
    Added("a host that is not allowed", {"url": "http://127.0.0.2/one"}),
    Added("a number for a host", {"url": "http://2130706433/one"}),
    Added("a file", {"url": "file:///etc/passwd"}),
    Added("an account", {"url": "swift+config://ref1/glance/x"}),
]


def add_one(api: ImagesApi, web: str, told: Added) -> tuple[int, Any]:
    image = api.create(**dict(told.fields))
    if told.data:
        api.upload(image, DATA)
    document = json.loads(json.dumps(told.body).replace("{web}", web))
    status = api.call("POST", f"/{image}/locations", document=document).status
    api.settle(image)

    def hashed_or_not() -> Any:
        shown = api.show(image)
        waits = shown["os_hash_algo"] is not None and shown["os_hash_value"] is None
        return None if waits else shown

    shown = until(f"{image} to be hashed", hashed_or_not)
    tasks = api.call("GET", f"/{image}/tasks").expect(200).json()["tasks"]
    told_of = ("status", "size", "checksum", "os_hash_algo", "os_hash_value", "stores")
    return status, {name: shown.get(name) for name in told_of} | {
        "locations": [
            place for place in shown["locations"] if not place["url"].startswith("file:")
        ],
        "data": api.call("GET", f"/{image}/file").body,
        "tasks": [(task["type"], task["status"], sorted(task["input"])) for task in tasks],
    }


@pytest.mark.parametrize("told", ADDED, ids=lambda told: told.title)
def test_the_same_of_an_added_location(both: Both, told: Added) -> None:
    theirs, their_image = add_one(both.glance, both.web, told)
    ours, our_image = add_one(both.ours, both.web, told)
    assert (theirs, ours) == (told.otherwise or (theirs, theirs))
    if theirs == ours:
        assert our_image == their_image
    assert our_image["status"] in {"active", "queued"}


def test_a_hash_of_other_data_queues_the_image(both: Both) -> None:
    told = Added("", {"url": "{web}/other", "validation_data": hashed()})
    theirs, their_image = add_one(both.glance, both.web, told)
    ours, our_image = add_one(both.ours, both.web, told)
    assert theirs == ours == 202
    # Glance fails to download what it leaves in the image.
    del their_image["data"]
    assert our_image.pop("data") == b""
    assert our_image == their_image
    assert our_image["status"] == "queued"


# What services may, users may not.
OF_SERVICES = [
    Added("the web", {"url": ONE, "validation_data": hashed()}),
    Added("a file", {"url": "file:///etc/passwd"}, otherwise=LATER),
    Added("an account", {"url": "swift+config://ref1/glance/x"}, otherwise=LATER),
    Added("nobody there", {"url": "http://127.0.0.1:9/one"}, otherwise=LATER),
    Added("no scheme", {"url": "one"}, otherwise=LATER),
]


@pytest.mark.parametrize("told", OF_SERVICES, ids=lambda told: told.title)
def test_the_same_of_a_service(both: Both, keystone: Keystone, told: Added) -> None:
    test_the_same_of_an_added_location(both.services(keystone), told)


def test_services_read_the_same_places(both: Both, keystone: Keystone) -> None:
    def read(api: ImagesApi, service: ImagesApi) -> Any:
        image = api.create()
        api.call("POST", f"/{image}/locations", document={"url": f"{both.web}/one"}).expect(202)
        api.settle(image)
        until("the place", lambda: api.show(image)["status"] == "active")
        api.call("GET", f"/{image}/locations").expect(403)
        return service.call("GET", f"/{image}/locations").expect(200).json()

    services = both.services(keystone)
    theirs, ours = read(both.glance, services.glance), read(both.ours, services.ours)
    assert ours == theirs == [{"url": f"{both.web}/one", "metadata": {"store": "web"}}]


def test_no_place_without_data(both: Both, keystone: Keystone) -> None:
    services = both.services(keystone)
    for api in (services.glance, services.ours):
        assert api.call("GET", f"/{api.create()}/locations").expect(200).json() == []
