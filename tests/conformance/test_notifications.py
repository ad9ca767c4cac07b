"""What the real Glance and our catalog tell a real broker of the same calls, field by field."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.catalog import STORES_OF_GLANCE, THIS_MACHINE, WITH_KEYSTONE, running_catalog
from harness.glance import FileServer, Glance, running_glance
from harness.http import ask
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, MEMBER, PARTNER, Keystone
from harness.rabbitmq import RabbitMQ, running_rabbitmq
from harness.waiting import until

V21 = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
OCTETS = {"Content-Type": "application/octet-stream"}
CONFIGURED = """
[DEFAULT]
default_publisher_id = image.tests
disabled_notifications = task, image.member.update
[oslo_messaging_notifications]
driver = messagingv2
topics = {topic}
transport_url = {url}
[oslo_messaging_rabbit]
kombu_reconnect_delay = 0.1
rabbit_retry_interval = 1
rabbit_retry_backoff = 1
"""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
SECONDS = 60.0


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    with running_rabbitmq() as running:
        yield running


class Listener:
    """Hears what is told of a topic."""

    def __init__(self, broker: RabbitMQ, topic: str) -> None:
        self.broker = broker
        self.topic = topic
        self.heard: dict[str, list[dict[str, Any]]] = {"info": [], "error": []}

    def wait_for(self, event: str, times: int, priority: str = "info") -> None:
        def told() -> bool:
            heard = self.heard[priority]
            heard.extend(self.broker.take(self.topic, priority))
            return [each["event_type"] for each in heard].count(event) >= times

        until(f"{event} to be told {times} times", told, SECONDS)

    def plain(self, priority: str, names: dict[str, str]) -> list[Any]:
        """Return it without what is never alike: ids and times."""
        found = []
        for each in self.heard[priority]:
            told = {**each, "message_id": "", "timestamp": "", "_unique_id": ""}
            if isinstance(told["payload"], str):
                told["payload"] = "why"
            elif "tags" in told["payload"]:
                told["payload"]["tags"].sort()
            text = TIME.sub("TIME", json.dumps(told, sort_keys=True))
            for name, value in names.items():
                text = text.replace(value, name)
            found.append(json.loads(text))
        return found


def story(url: str, keystone: Keystone, listener: Listener) -> dict[str, str]:
    """Do everything that somebody is told of; return the names of what was made."""
    owner = ImagesApi(url, {"X-Auth-Token": keystone.token(MEMBER)})
    partner = ImagesApi(url, {"X-Auth-Token": keystone.token(PARTNER)})
    admin = ImagesApi(url, {"X-Auth-Token": keystone.token(ADMIN)})
    guest = keystone.project_id(PARTNER)
    image = owner.create(name="one", tags=["b", "a"], colour="red", min_ram=1)

    def patch(*changes: Any) -> None:
        owner.call("PATCH", f"/{image}", document=list(changes), headers=V21).expect(200)

    patch({"op": "replace", "path": "/name", "value": "two"})
    patch()
    owner.call("PUT", f"/{image}/tags/c").expect(204)
    owner.call("DELETE", f"/{image}/tags/b").expect(204)
    owner.upload(image, b"0123456789", store="fast")
    owner.call("GET", f"/{image}/file").expect(200)
    listener.wait_for("image.send", 1)
    owner.call("POST", f"/{image}/members", document={"member": guest}).expect(200)
    accepted = {"status": "accepted"}
    partner.call("PUT", f"/{image}/members/{guest}", document=accepted).expect(200)
    partner.call("GET", f"/{image}/file", headers={"Range": "bytes=2-5"}).expect(206)
    listener.wait_for("image.send", 2)
    owner.call("DELETE", f"/{image}/members/{guest}").expect(204)
    owner.call("POST", f"/{image}/actions/deactivate").expect(204)
    owner.call("POST", f"/{image}/actions/reactivate").expect(204)
    public = admin.create(visibility="public")
    wrong = {**OCTETS, "x-openstack-image-size": "11"}
    admin.call("PUT", f"/{public}/file", body=b"0123456789", headers=wrong).expect(400)
    owner.call("DELETE", f"/{image}").expect(204)
    admin.call("DELETE", f"/{public}").expect(204)
    listener.wait_for("image.delete", 2)
    listener.wait_for("image.upload", 1, "error")
    return {"IMAGE": image, "PUBLIC": public}


def test_like_glance(keystone: Keystone, broker: RabbitMQ, tmp_path: Path) -> None:
    ours, theirs = Listener(broker, "ours"), Listener(broker, "theirs")
    more = CONFIGURED.format(topic="theirs", url=broker.url)
    with running_glance(tmp_path / "glance", keystone, more) as glance:
        names = story(glance.url, keystone, theirs)
        expected = {each: theirs.plain(each, names) for each in theirs.heard}
    (tmp_path / "catalog").mkdir()
    more = (STORES_OF_GLANCE + WITH_KEYSTONE).format(
        directory=tmp_path / "catalog", keystone=keystone.url
    ) + CONFIGURED.format(topic="ours", url=broker.url)
    with running_catalog(tmp_path / "catalog", more) as catalog:
        names = story(catalog.url, keystone, ours)
        found = {each: ours.plain(each, names) for each in ours.heard}
    assert found == expected
    assert {each["event_type"] for each in found["info"]} == {
        *("image.create", "image.update", "image.delete", "image.send"),
        *("image.prepare", "image.upload", "image.activate"),
        *("image.member.create", "image.member.delete"),
    }


WAYS = """
[DEFAULT]
disabled_notifications = image
enabled_import_methods = [glance-direct,web-download,copy-image]
[os_glance_staging_store]
filesystem_store_datadir = {directory}/staging
"""


class Imports:
    """Imports, each of which is waited for; `names` are those of their tasks and images."""

    def __init__(self, owner: ImagesApi, listener: Listener) -> None:
        self.owner = owner
        self.names: dict[str, str] = {}
        self._listener = listener
        self._ends: Counter[str] = Counter()

    def staged(self) -> str:
        image = self.owner.create()
        octets = {"body": b"0123456789", "headers": OCTETS}
        self.owner.call("PUT", f"/{image}/stage", **octets).expect(204)
        return image

    def begin(self, image: str, end: str, method: str, about: Any = None, **more: Any) -> str:
        document = {"method": {"name": method, **(about or {})}, **more}
        self.owner.call("POST", f"/{image}/import", document=document).expect(202)
        self._ends[end] += 1
        self._listener.wait_for(end, self._ends[end])
        (task,) = self.owner.call("GET", f"/{image}/tasks").expect(200).json()["tasks"]
        self.names |= {f"TASK {len(self.names)}": task["id"], f"IMAGE {len(self.names)}": image}
        return image


def story_of_tasks(url: str, web: str, keystone: Keystone, listener: Listener) -> dict[str, str]:
    """Import in every way, one after the other; return the names of the tasks."""
    owner = ImagesApi(url, {"X-Auth-Token": keystone.token(MEMBER)})
    admin = ImagesApi(url, {"X-Auth-Token": keystone.token(ADMIN)})
    imports = Imports(owner, listener)
    imports.begin(owner.create(), "task.run", "web-download", {"uri": f"{web}/image"})
    imports.begin(owner.create(), "task.failure", "web-download", {"uri": f"{web}/missing"})
    imports.begin(imports.staged(), "task.run", "glance-direct")
    names = imports.names
    described = {"container_format": "bare", "disk_format": "raw"}
    asked = {"import_from": f"{web}/image", "import_from_format": "raw"}
    for end, times, properties in (
        ("task.run", 3, described),
        ("task.failure", 2, {"min_ram": "x"}),
    ):
        task = {"type": "import", "input": {**asked, "image_properties": properties}}
        made = ask(*("POST", f"{url}/v2/tasks"), headers=admin.headers, document=task).expect(201)
        names[f"TASK {len(names)}"] = made.json()["id"]
        listener.wait_for(end, times)
    return names


@contextmanager
def side_of(directory: Path, keystone: Keystone, more: str, *, is_glance: bool) -> Iterator[str]:
    """Run Glance, or the catalog; give its URL."""
    if is_glance:
        with running_glance(directory, keystone, more) as glance:
            yield glance.url
        return
    stores = (STORES_OF_GLANCE + WITH_KEYSTONE).format(directory=directory, keystone=keystone.url)
    with running_catalog(directory, stores + THIS_MACHINE + more) as catalog:
        yield catalog.url


def test_tasks_like_glance(
    keystone: Keystone, broker: RabbitMQ, file_server: FileServer, tmp_path: Path
) -> None:
    (file_server.directory / "image").write_bytes(b"0123456789")
    configured = CONFIGURED.replace("disabled_notifications", "# ") + WAYS
    seen = []
    for topic in ("tasks-of-theirs", "tasks-of-ours"):
        listener, directory = Listener(broker, topic), tmp_path / topic
        directory.mkdir()
        more = configured.format(topic=topic, url=broker.url, directory=directory)
        with side_of(directory, keystone, more, is_glance=topic.endswith("theirs")) as url:
            names = story_of_tasks(url, file_server.url, keystone, listener)
            seen.append({each: listener.plain(each, names) for each in listener.heard})
    told = [[(each["event_type"], each["payload"]) for each in side["info"]] for side in seen]
    assert told[1] == told[0]
    assert seen[1] == seen[0]


STORED = """
[DEFAULT]
enabled_backends = fast:file,slow:file,web:http
enabled_import_methods = [glance-direct,web-download,copy-image,glance-download]
[slow]
filesystem_store_datadir = {directory}/slow
[os_glance_staging_store]
filesystem_store_datadir = {directory}/staging
"""


def story_of_imports(imports: Imports, web: str, remote: str) -> Collection[str]:
    """Import in every way, into stores that take it and one that does not; return what came to nothing."""
    owner, both = imports.owner, {"stores": ["slow", "fast"]}
    lax = {"stores": ["web", "slow"], "all_stores_must_succeed": False}
    there, missing = {"uri": f"{web}/image"}, {"uri": f"{web}/missing"}

    def uploaded() -> str:
        image = owner.create()
        owner.upload(image, b"0123456789", store="fast")
        return image

    imports.begin(imports.staged(), "task.run", "glance-direct", **both)
    imports.begin(owner.create(), "task.run", "web-download", there)
    imports.begin(owner.create(), "task.run", "web-download", there, **lax)
    imports.begin(uploaded(), "task.run", "copy-image", stores=["slow"])
    imports.begin(uploaded(), "task.run", "copy-image", **lax)
    region = {"glance_region": "RegionOne", "glance_image_id": remote}
    other = owner.create(disk_format="iso", hw_disk_bus="ide")
    imports.begin(other, "task.run", "glance-download", region)
    none = {**lax, "stores": ["web"]}
    return [
        imports.begin(owner.create(), "task.failure", "web-download", missing),
        imports.begin(owner.create(), "task.failure", "web-download", there, stores=["web"]),
        imports.begin(owner.create(), "task.failure", "web-download", there, **none),
        imports.begin(uploaded(), "task.failure", "copy-image", stores=["slow", "web"]),
        imports.begin(
            owner.create(), "task.failure", "web-download", there, stores=["fast", "web"]
        ),
    ]


def without_steps_back(told: list[Any], undone: Collection[str]) -> list[Any]:
    """Leave only the last of what is told of images as they become what they were: Glance tells of each step."""
    return [
        each
        for each, following in zip(told, [*told[1:], None], strict=True)
        if not (
            each["event_type"] == "image.update"
            and following["event_type"] == "image.update"
            and each["payload"]["id"] == following["payload"]["id"]
            and each["payload"]["id"] in undone
        )
    ]


def test_imports_like_glance(
    keystone: Keystone, broker: RabbitMQ, file_server: FileServer, glance: Glance, tmp_path: Path
) -> None:
    (file_server.directory / "image").write_bytes(b"0123456789")
    region = ImagesApi(glance.url, {"X-Auth-Token": keystone.token(ADMIN)})
    remote = region.add(b"9876543210", disk_format="raw", hw_disk_bus="scsi", os_distro="debian")
    configured = CONFIGURED.replace("disabled_notifications", "# ") + STORED
    seen = []
    for topic in ("imports-of-theirs", "imports-of-ours"):
        listener, directory = Listener(broker, topic), tmp_path / topic
        directory.mkdir()
        more = configured.format(topic=topic, url=broker.url, directory=directory)
        with side_of(directory, keystone, more, is_glance=topic.endswith("theirs")) as url:
            # Glance remembers catalogs with tokens: this one is newer than the region.
            owner = ImagesApi(url, {"X-Auth-Token": keystone.new_token(ADMIN)})
            imports = Imports(owner, listener)
            undone = story_of_imports(imports, file_server.url, remote)
            listener.wait_for("image.upload", 6, "error")
        called = {image: name for name, image in imports.names.items()}
        told = listener.plain("info", imports.names)
        for each in told:
            marks = each["payload"].get("properties", {})
            if marks.get("os_glance_failed_import") == "fast,web":
                marks["os_glance_failed_import"] = "web"  # Glance names all, the catalog who failed
        seen.append(without_steps_back(told, [called[image] for image in undone]))
        seen.append(listener.plain("error", imports.names))
    events = [[each["event_type"] for each in side] for side in seen]
    assert events[2:] == events[:2]
    assert seen[2:] == seen[:2]


def test_a_broker_that_is_away_holds_nobody_up(keystone: Keystone, tmp_path: Path) -> None:
    more = WITH_KEYSTONE.format(keystone=keystone.url)
    with (
        running_rabbitmq() as broker,
        running_catalog(
            tmp_path, more + CONFIGURED.format(topic="away", url=broker.url)
        ) as catalog,
    ):
        listener = Listener(broker, "away")
        api = ImagesApi(catalog.url, {"X-Auth-Token": keystone.token(MEMBER)})
        api.create()
        listener.wait_for("image.create", 1)
        broker.stop()
        images = [api.create() for _ in range(20)]
        api.upload(images[0], b"x")
        api.call("DELETE", f"/{images[0]}").expect(204)
        broker.start()
        listener.wait_for("image.delete", 1)
    created = [each for each in listener.heard["info"] if each["event_type"] == "image.create"]
    assert [each["payload"]["id"] for each in created[1:]] == images


def test_a_broker_that_is_never_there_lets_the_catalog_end(
    keystone: Keystone, tmp_path: Path
) -> None:
    more = WITH_KEYSTONE.format(keystone=keystone.url)
    more += CONFIGURED.format(topic="never", url="rabbit://guest:secret@127.0.0.1:9/")
    with running_catalog(tmp_path, more) as catalog:
        ImagesApi(catalog.url, {"X-Auth-Token": keystone.token(MEMBER)}).create()
    log = catalog.program.log.read_text()
    assert "notifications are not sent any more" in log
    assert "secret" not in log
