"""The recordings that `test_same_answers` replays: what the real clients ask, asked again.

`CACHEPROXY_RECORD=1 python -m pytest -m long tests/conformance/test_recordings.py` writes them.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import glanceclient  # type: ignore[import-untyped]  # it has no types
import glanceclient.exc  # type: ignore[import-untyped]  # it has no types
import openstack
import openstack.exceptions
import pytest

from harness.clients import client
from harness.glance import FileServer, Glance
from harness.image_code import CallError, image_code
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, GLANCE, MEMBER, STRANGER, Keystone, User
from harness.recorder import Recorder, load, recording, save

pytestmark = pytest.mark.long

SIZE = 150_000  # more than one piece of glanceclient's
RAW = {"disk_format": "raw", "container_format": "bare"}
USERS = (ADMIN, GLANCE, MEMBER, STRANGER)
NOBODY = "nobody-has-this-token"
NAMESPACE = "in-world-0"  # there is one of each name: a replay gives it another number
OF_ITSELF = "ignore::PendingDeprecationWarning"  # openstacksdk warns itself


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a file with an image's data."""
    path = tmp_path / "data"
    path.write_bytes(random_bytes(SIZE, seed=SIZE))
    return path


@pytest.fixture
def located(file_server: FileServer) -> Iterator[str]:
    """Give the URL of an image's data elsewhere."""
    path = file_server.directory / "located"
    path.write_bytes(random_bytes(SIZE, seed=SIZE))
    yield f"{file_server.url}/located"
    path.unlink()


@contextlib.contextmanager
def recorded(
    name: str, keystone: Keystone, glance: Glance, file_server: FileServer
) -> Iterator[tuple[str, Recorder]]:
    """Record what is asked at the URL given; afterwards it must be what was asked before."""
    names = {keystone.token(user): f"<{user.name}>" for user in USERS}
    names |= {keystone.project_id(user): f"<project-of-{user.name}>" for user in USERS}
    names |= {NOBODY: "nobody's", file_server.url: "<files>"}
    with recording(glance.url, names) as (url, recorder):
        yield url, recorder
    if os.environ.get("CACHEPROXY_RECORD"):
        save(name, recorder.asked)
    # Fields may come and go with the versions of libraries; the calls may not.
    assert [(each.method, each.target, each.status) for each in load(name)] == [
        (each.method, each.target, each.status) for each in recorder.asked
    ]


def attempt(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Make a call, whose refusal is as much an answer as any."""
    with contextlib.suppress(glanceclient.exc.HTTPException, openstack.exceptions.SDKException):
        result = call(*arguments, **named)
        if isinstance(result, Generator):
            return list(result)
        return result
    return None


def test_nova(
    keystone: Keystone,
    glance_wide: Glance,
    file_server: FileServer,
    located: str,
    data: Path,
    tmp_path: Path,
) -> None:
    source = ImagesApi(glance_wide.url, glance_wide.headers)
    with (
        recorded("nova", keystone, glance_wide, file_server) as (url, _),
        image_code("nova", url, keystone, tmp_path) as nova,
    ):
        shared = {"instance_owner": keystone.project_id(STRANGER), "kind": "snapshot"}
        described = {"name": "snapshot", **RAW}
        theirs = {**described, "visibility": "shared", "properties": shared}
        image = nova.call("create", MEMBER, image_meta=theirs)["id"]
        changed = {**described, "properties": {"kind": "snapshot", "os_type": "linux"}}
        nova.call(
            "update", MEMBER, image_id=image, image_meta=changed, data=data, purge_props=False
        )
        nova.call("show", MEMBER, image_id=image)
        nova.call("show", MEMBER, image_id=image, include_locations=True, show_deleted=False)
        nova.call("download", MEMBER, image_id=image, dst_path=tmp_path / "downloaded")
        assert (tmp_path / "downloaded").read_bytes() == data.read_bytes()
        nova.call("download", STRANGER, image_id=image, dst_path=tmp_path / "downloaded")
        filters = {"property-image_type": "snapshot", "status": "active"}
        nova.call("detail", MEMBER, filters=filters, sort_key="created_at", sort_dir="desc")
        nova.call("detail", MEMBER, filters={"name": "snapshot"}, limit=1)
        nova.call("update", MEMBER, image_id=image, image_meta={"name": "renamed"})
        nova.call("image_import_copy", ADMIN, image_id=image, stores=["slow"])
        source.settle(image)
        empty = {"name": "empty", "size": 0, "properties": {"kind": "volume"}}
        nova.call("create", MEMBER, image_meta=empty)
        direct = {"name": "direct", "location": located, **RAW}
        source.settle(nova.call("create", MEMBER, image_meta=direct)["id"])
        queued = nova.call("create", MEMBER, image_meta=described)["id"]
        with pytest.raises(CallError, match="ImageUnacceptable"):
            nova.call("download", MEMBER, image_id=queued, dst_path=tmp_path / "nothing")
        for _ in range(2):
            with contextlib.suppress(CallError):
                nova.call("delete", MEMBER, image_id=queued)
        with pytest.raises(CallError, match="ImageNotFound"):
            nova.call("show", MEMBER, image_id=queued)
        with pytest.raises(CallError, match="ImageNotAuthorized"):
            nova.call("delete", STRANGER, image_id=image)


def test_cinder(
    keystone: Keystone,
    glance_wide: Glance,
    file_server: FileServer,
    located: str,
    data: Path,
    tmp_path: Path,
) -> None:
    source = ImagesApi(glance_wide.url, glance_wide.headers)
    with (
        recorded("cinder", keystone, glance_wide, file_server) as (url, _),
        image_code("cinder", url, keystone, tmp_path) as cinder,
    ):
        described = {"name": "from a volume", "properties": {"kind": "volume"}, **RAW}
        image = cinder.call("create", MEMBER, image_meta=described)["id"]
        cinder.call(
            "update",
            MEMBER,
            image_id=image,
            image_meta={},
            data=data,
            purge_props=False,
            store_id="slow",
            base_image_ref=image,
        )
        cinder.call("show", MEMBER, image_id=image)
        cinder.call("get_location", MEMBER, image_id=image)
        cinder.call("list_members", MEMBER, image_id=image)
        cinder.call("get_stores", MEMBER)
        cinder.call("detail", MEMBER, filters={"name": "from a volume"}, limit=2)
        cinder.call("download", MEMBER, image_id=image, to=tmp_path / "downloaded")
        assert (tmp_path / "downloaded").read_bytes() == data.read_bytes()
        cinder.call("update", MEMBER, image_id=image, image_meta={"properties": {"kind": "x"}})
        queued = cinder.call("create", MEMBER, image_meta=described)["id"]
        with contextlib.suppress(CallError):
            cinder.call("add_location", MEMBER, image_id=queued, url=located, metadata={})
        source.settle(queued)
        cinder.call("delete", MEMBER, image_id=image)
        with pytest.raises(CallError, match="ImageNotFound"):
            cinder.call("show", MEMBER, image_id=image)


def test_glanceclient(
    keystone: Keystone, glance_wide: Glance, file_server: FileServer, located: str, data: Path
) -> None:
    source = ImagesApi(glance_wide.url, glance_wide.headers)
    with recorded("glanceclient", keystone, glance_wide, file_server) as (url, _):
        tokens = [*(keystone.token(user) for user in (MEMBER, STRANGER, ADMIN, GLANCE)), NOBODY]
        clients = [glanceclient.Client(endpoint=f"{url}/v2", token=token) for token in tokens]
        member, stranger, admin, service, nobody = clients
        images = member.images
        image = images.create(name="one", tags=["red"], **RAW).id
        images.upload(image, io.BytesIO(data.read_bytes()), backend="fast")
        attempt(images.upload, image, io.BytesIO(data.read_bytes()))  # it has data
        assert b"".join(images.data(image)) == data.read_bytes()
        attempt(images.data, image, prefer="slow,fast")
        attempt(stranger.images.data, image)
        attempt(stranger.images.get, image)
        images.update(image, name="renamed", description="x")
        images.update(image, remove_props=["description"])
        attempt(images.update, image, status="queued")
        list(images.list(filters={"name": "renamed", "tag": ["red"]}))
        for name in ("page-1", "page-2", "page-3"):
            images.create(name=name, tags=["page"])
        list(images.list(filters={"tag": ["page"]}, page_size=1, limit=3, sort="name:asc"))
        list(images.list(filters={"visibility": "shared"}, sort_key=["name"], sort_dir=["asc"]))
        attempt(images.list, page_size=2, marker="no-such-image")
        for call in (member.image_tags.update, member.image_tags.delete, member.image_tags.delete):
            attempt(call, image, "blue")
        theirs = keystone.project_id(STRANGER)
        member.image_members.create(image, theirs)
        attempt(member.image_members.create, image, theirs)
        attempt(member.image_members.list, image)
        attempt(member.image_members.get, image, theirs)
        for status in ("accepted", "rejected", "what"):
            attempt(stranger.image_members.update, image, theirs, status)
        assert b"".join(stranger.images.data(image)) == data.read_bytes()
        list(stranger.images.list(filters={"member_status": "all"}))
        attempt(member.image_members.delete, image, theirs)
        attempt(stranger.images.data, image)
        images.deactivate(image)
        attempt(images.data, image)
        assert b"".join(admin.images.data(image)) == data.read_bytes()
        images.reactivate(image)
        attempt(images.get_associated_image_tasks, image)
        staged = images.create(name="two", **RAW).id
        images.stage(staged, io.BytesIO(data.read_bytes()))
        images.image_import(staged, stores=["slow"])
        source.settle(staged)
        attempt(admin.images.image_import, staged, method="copy-image", stores=["fast"])
        source.settle(staged)
        attempt(admin.images.delete_from_store, "slow", staged)
        fetched = images.create(name="three", **RAW).id
        images.image_import(fetched, method="web-download", uri=located)
        source.settle(fetched)
        assert b"".join(images.data(fetched)) == data.read_bytes()
        placed = images.create(name="four", **RAW).id
        attempt(service.images.add_image_location, placed, located, {})
        source.settle(placed)
        attempt(service.images.get_image_locations, placed)
        attempt(member.images.get_image_locations, placed)
        added = images.create(name="five", **RAW).id
        attempt(images.add_location, added, located, {"store": "web"})
        attempt(images.update_location, added, located, {"store": "web", "x": "y"})
        attempt(images.delete_locations, added, {located})
        attempt(images.data, added)
        attempt(images.delete, added)
        attempt(images.delete, added)
        for call in (
            images.get_import_info,
            images.get_stores_info,
            images.get_stores_info_detail,
            admin.images.get_stores_info_detail,
            member.info.get_usage,
            member.versions.list,
            admin.tasks.list,
        ):
            attempt(call)
        task = admin.tasks.create(
            type="import",
            input={"import_from": located, "import_from_format": "raw", "image_properties": RAW},
        )
        attempt(admin.tasks.get, task.id)
        attempt(member.tasks.get, task.id)
        for kind in ("image", "images", "member", "members", "task", "tasks"):
            attempt(member.schemas.get, kind)
        for kind in ("namespace", "object", "property", "resource_type", "tag"):
            attempt(member.schemas.get, f"metadefs/{kind}")
        admin.metadefs_namespace.create(namespace=NAMESPACE, visibility="private")
        attempt(admin.metadefs_namespace.create, namespace=NAMESPACE)
        admin.metadefs_resource_type.associate(NAMESPACE, name="OS::Glance::Image")
        attempt(admin.metadefs_resource_type.get, NAMESPACE)
        attempt(admin.metadefs_resource_type.list)
        admin.metadefs_object.create(NAMESPACE, name="thing", properties={})
        attempt(admin.metadefs_object.update, NAMESPACE, "thing", description="x")
        attempt(admin.metadefs_object.list, NAMESPACE)
        admin.metadefs_property.create(NAMESPACE, name="size", title="Size", type="integer")
        attempt(admin.metadefs_property.update, NAMESPACE, "size", title="How big")
        attempt(admin.metadefs_property.get, NAMESPACE, "size")
        attempt(admin.metadefs_property.list, NAMESPACE)
        admin.metadefs_tag.create(NAMESPACE, "a")
        attempt(admin.metadefs_tag.create_multiple, NAMESPACE, tags=["b", "c"])
        attempt(admin.metadefs_tag.update, NAMESPACE, "b", name="d")
        attempt(admin.metadefs_tag.list, NAMESPACE)
        attempt(admin.metadefs_namespace.update, NAMESPACE, description="x")
        attempt(admin.metadefs_namespace.get, NAMESPACE)
        attempt(member.metadefs_namespace.get, NAMESPACE)
        attempt(admin.metadefs_namespace.list, filters={"resource_types": ["OS::Glance::Image"]})
        attempt(admin.metadefs_object.delete, NAMESPACE, "thing")
        attempt(admin.metadefs_property.delete, NAMESPACE, "size")
        attempt(admin.metadefs_tag.delete, NAMESPACE, "a")
        attempt(admin.metadefs_object.delete_all, NAMESPACE)
        attempt(admin.metadefs_property.delete_all, NAMESPACE)
        attempt(admin.metadefs_tag.delete_all, NAMESPACE)
        attempt(admin.metadefs_resource_type.deassociate, NAMESPACE, "OS::Glance::Image")
        admin.metadefs_namespace.delete(NAMESPACE)
        attempt(nobody.images.get, image)
        attempt(nobody.images.data, image)
        images.delete(image)
        attempt(images.data, image)
        for each in clients:
            each.http_client.session.close()


@pytest.mark.filterwarnings(OF_ITSELF)
def test_openstacksdk(
    keystone: Keystone,
    glance_wide: Glance,
    file_server: FileServer,
    located: str,
    data: Path,
    tmp_path: Path,
) -> None:
    source = ImagesApi(glance_wide.url, glance_wide.headers)
    with recorded("openstacksdk", keystone, glance_wide, file_server) as (url, _):
        connections: list[Any] = [
            openstack.connect(
                load_yaml_config=False,
                load_envvars=False,
                auth_type="admin_token",
                auth={"endpoint": url, "token": keystone.token(user)},
                image_endpoint_override=url,
                image_api_version="2",
            )
            for user in (MEMBER, STRANGER, ADMIN)
        ]
        member, stranger, admin = (each.image for each in connections)
        image = member.create_image("sdk-one", data=data.read_bytes(), wait=True, **RAW)
        assert member.download_image(image).content == data.read_bytes()
        with (tmp_path / "downloaded").open("wb") as output:
            member.download_image(image, stream=True, output=output)
        attempt(member.download_image, image, store_preferences=["slow"])
        attempt(member.find_image, "sdk-one")
        attempt(member.find_image, image.id)
        attempt(member.find_image, "no-such-image")
        attempt(member.get_image, image.id)
        attempt(member.images, name="sdk-one", limit=1)
        attempt(member.update_image, image.id, name="sdk-two", is_hidden=False)
        attempt(member.update_image_properties, image, hw_disk_bus="scsi")
        attempt(member.add_tag, image.id, "green")
        attempt(member.remove_tag, image.id, "green")
        theirs = keystone.project_id(STRANGER)
        attempt(member.add_member, image.id, member_id=theirs)
        attempt(member.members, image.id)
        attempt(member.get_member, theirs, image.id)
        attempt(stranger.update_member, theirs, image.id, status="accepted")
        attempt(stranger.download_image, image.id)
        attempt(member.remove_member, theirs, image.id)
        attempt(stranger.download_image, image.id)
        attempt(member.deactivate_image, image.id)
        attempt(member.download_image, image.id)
        attempt(member.reactivate_image, image.id)
        attempt(member.image_tasks, image.id)
        attempt(member.image_locations, image.id)
        staged = member.create_image("sdk-three", **RAW)
        attempt(member.stage_image, staged.id, data=data.read_bytes())
        attempt(member.import_image, staged.id)
        source.settle(staged.id)
        placed = member.create_image("sdk-four", **RAW)
        attempt(member.add_image_location, placed.id, located)
        source.settle(placed.id)
        for call in (
            member.get_import_info,
            member.stores,
            admin.tasks,
            member.get_image_schema,
            member.get_images_schema,
            member.get_member_schema,
            member.get_members_schema,
            member.get_tasks_schema,
            member.get_metadef_namespace_schema,
            member.metadef_namespaces,
            member.metadef_resource_types,
            admin.get_image_cache,
            admin.clear_cache,
        ):
            attempt(call)
        attempt(admin.stores, details=True)
        attempt(admin.create_metadef_namespace, namespace=NAMESPACE, description="x")
        attempt(admin.create_metadef_object, NAMESPACE, name="thing")
        attempt(admin.metadef_objects, NAMESPACE)
        attempt(admin.add_tag_to_metadef_namespace, NAMESPACE, "a")
        attempt(admin.update_metadef_namespace, NAMESPACE, display_name="y")
        attempt(admin.delete_metadef_namespace, NAMESPACE)
        attempt(member.delete_image, image.id)
        attempt(member.delete_image, image.id)
        for each in connections:
            each.close()


def test_openstack_command(
    keystone: Keystone,
    glance_wide: Glance,
    file_server: FileServer,
    located: str,
    data: Path,
    tmp_path: Path,
) -> None:
    source = ImagesApi(glance_wide.url, glance_wide.headers)
    with recorded("openstack", keystone, glance_wide, file_server) as (url, _):

        def run(*arguments: str | Path, by: User = MEMBER, well: bool = True) -> str:
            environment = {
                "OS_AUTH_TYPE": "admin_token",
                "OS_ENDPOINT": url,
                "OS_TOKEN": keystone.token(by),
                "OS_IMAGE_ENDPOINT_OVERRIDE": url,
            }
            try:
                return client("openstack", *arguments, environment=environment)
            except AssertionError:
                if well:
                    raise
                return ""

        values = ("-f", "value", "-c", "id")
        raw = ("--disk-format", "raw", "--container-format", "bare", *values)
        image = run("image", "create", *raw, "--file", data, "--tag", "red", "from-command")
        run("image", "show", image)
        run("image", "show", "from-command")
        run("image", "show", "no-such-image", well=False)
        run("image", "save", "--file", tmp_path / "saved", image)
        assert (tmp_path / "saved").read_bytes() == data.read_bytes()
        run("image", "list", "--long", "--property", "os_distro=none")
        run("image", "list", "--status", "active", "--limit", "2", "--sort", "name:asc")
        run("image", "set", "--property", "os_distro=none", "--tag", "blue", "--shared", image)
        run("image", "unset", "--property", "os_distro", "--tag", "blue", image)
        theirs = keystone.project_id(STRANGER)
        run("image", "add", "project", image, theirs, well=False)
        run("image", "member", "list", image, well=False)
        run("image", "remove", "project", image, theirs, well=False)
        run("image", "set", "--deactivate", image)
        run("image", "save", "--file", tmp_path / "refused", image, well=False)
        run("image", "set", "--activate", image)
        asked = ImagesApi(url, glance_wide.headers)  # the command would read its input instead
        staged = asked.create(name="staged-by-command")
        run("image", "stage", "--file", data, staged)
        run("image", "import", "--method", "glance-direct", staged)
        source.settle(staged)
        fetched = asked.create(name="fetched-by-command")
        run("image", "import", "--method", "web-download", "--uri", located, fetched)
        source.settle(fetched)
        run("image", "import", "info")
        run("image", "stores", "list")
        run("image", "task", "list", by=ADMIN)
        run("image", "metadef", "namespace", "list")
        run("image", "delete", image)
        run("image", "delete", image, well=False)
