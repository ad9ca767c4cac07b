"""Staging, import and tasks: the real Glance and our catalog do the same, call by call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from harness.catalog import STORES_OF_GLANCE, THIS_MACHINE, WITH_KEYSTONE, running_catalog
from harness.glance import FileServer, Glance
from harness.http import Answer, ask
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, Keystone
from harness.waiting import until

DATA = b"imported" * 1000
OCTETS = {"Content-Type": "application/octet-stream"}
UNKNOWN = "00000000-0000-0000-0000-000000000000"
LOCK = "os_glance_import_task"
TOLD = (
    *("status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "stores"),
    *("disk_format", "container_format", "os_glance_importing_to_stores"),
    "os_glance_failed_import",
)
WIDE = """
[DEFAULT]
enabled_backends = fast:file,slow:file,web:http
enabled_import_methods = [glance-direct,web-download,copy-image,glance-download]
[slow]
filesystem_store_datadir = {directory}/slow
[os_glance_staging_store]
filesystem_store_datadir = {directory}/staging
"""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two endpoints, and a web server with files for both."""

    api: ImagesApi
    web: str


@pytest.fixture(scope="module")
def sides(
    glance_wide: Glance,
    keystone: Keystone,
    file_server: FileServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Side, Side]]:
    (file_server.directory / "image").write_bytes(DATA)
    directory = tmp_path_factory.mktemp("catalog")
    more = (STORES_OF_GLANCE + WIDE + WITH_KEYSTONE).format(
        directory=directory, keystone=keystone.url
    )
    headers = {"X-Auth-Token": keystone.token(ADMIN)}
    with running_catalog(directory, more + THIS_MACHINE) as catalog:
        yield (
            Side(ImagesApi(glance_wide.url, headers), file_server.url),
            Side(ImagesApi(catalog.url, headers), file_server.url),
        )


@dataclass(frozen=True, slots=True)
class Step:
    """A request about the story's image, `{id}` in its path."""

    method: str
    path: str
    document: Any = None
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def put(self, side: Side, image: str) -> Answer:
        headers = dict(self.headers)
        body = self.body
        if self.document is not None:
            text = json.dumps(self.document).replace("{web}", side.web)
            body = text.encode()
            headers.setdefault("Content-Type", "application/json")
        path = self.path.replace("{id}", image)
        return ask(
            self.method,
            f"{side.api.url}/v2{path}",
            headers={**side.api.headers, **headers},
            body=body,
        )


def stage(data: bytes = DATA, **headers: str) -> Step:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Step("PUT", "/images/{id}/stage", body=data, headers=tuple({**OCTETS, **told}.items()))


def begin(method: Any, **more: Any) -> Step:
    headers = tuple(more.pop("headers", {}).items())
    return Step("POST", "/images/{id}/import", {"method": method, **more}, headers=headers)


def web(**more: Any) -> Step:
    return begin({"name": "web-download", "uri": more.pop("uri", "{web}/image")}, **more)


DIRECT, COPY = {"name": "glance-direct"}, {"name": "copy-image"}
DELETE = Step("DELETE", "/images/{id}")
UPLOAD = Step("PUT", "/images/{id}/file", body=DATA, headers=tuple(OCTETS.items()))


@dataclass(frozen=True, slots=True)
class Story:
    """What is asked of a new image, one request after the other; each import is waited for."""

    title: str
    steps: Sequence[Step]
    fields: tuple[tuple[str, Any], ...] = ()


# What of them is otherwise with us, and why.
OTHERWISE = {
    "direct, one of two fails": "Glance leaves the image in importing for ever",
    "direct, the first of two fails": "the same",
    "glance, no such region": "Glance does not say which stores failed, and waits for them for ever",
}


def story(title: str, *steps: Step, **fields: Any) -> Story:
    return Story(title, steps, tuple(fields.items()))


STORIES = [
    story("stage", stage()),
    story("stage twice", stage(), stage()),
    story("stage nothing", stage(b"")),
    story("stage another type", stage(Content_Type="text/plain")),
    story("stage another size", stage(x_openstack_image_size="1")),
    story("stage no size", stage(x_openstack_image_size="many")),
    story("stage an active image", UPLOAD, stage()),
    story(
        "stage an unknown image",
        Step("PUT", f"/images/{UNKNOWN}/stage", body=DATA, headers=tuple(OCTETS.items())),
    ),
    story("stage without formats", stage(), begin(DIRECT), disk_format=None, container_format=None),
    story("stage, delete", stage(), DELETE, stage()),
    story("stage, upload", stage(), UPLOAD),
    story("stage, show the data", stage(), Step("GET", "/images/{id}/file")),
    story("direct", stage(), begin(DIRECT)),
    story("direct, again", stage(), begin(DIRECT), begin(DIRECT)),
    story("direct, a store", stage(), begin(DIRECT, stores=["fast"])),
    story("direct, a header", stage(), begin(DIRECT, headers={"X-Image-Meta-Store": "fast"})),
    story("direct, all stores", stage(), begin(DIRECT, all_stores=True)),
    story("direct, an unknown store", stage(), begin(DIRECT, stores=["none"])),
    story("direct, an unknown header", stage(), begin(DIRECT, headers={"X-Image-Meta-Store": "n"})),
    story("direct, not staged", begin(DIRECT)),
    story("direct, two ways of stores", begin(DIRECT, stores=["fast"], all_stores=True)),
    story(
        "direct, header and stores",
        stage(),
        begin(DIRECT, stores=["fast"], headers={"X-Image-Meta-Store": "fast"}),
    ),
    story("web", web()),
    story("web, on a staged image", stage(), web()),
    story("web, on an active image", UPLOAD, web()),
    story("web, no uri", begin({"name": "web-download"})),
    story("web, a file", web(uri="file:///etc/passwd")),
    story("web, link-local", web(uri="http://169.254.169.254/")),
    story("web, no scheme", web(uri="image")),
    story("web, missing", web(uri="{web}/missing")),
    story("web, missing, then there", web(uri="{web}/missing"), web()),
    story("web, nobody listens", web(uri="http://127.0.0.1:1/")),
    story("web, some may fail", web(all_stores=True, all_stores_must_succeed=False)),
    story("web, formats missing", web(), disk_format=None),
    story("web, unknown image", Step("POST", f"/images/{UNKNOWN}/import", {"method": DIRECT})),
    story("copy, not active", begin(COPY, all_stores=True)),
    story("copy, one", UPLOAD, begin(COPY, stores=["slow"])),
    story("copy, to what is read only", UPLOAD, begin(COPY, stores=["web"])),
    story("copy, one of two fails", UPLOAD, begin(COPY, stores=["slow", "web"])),
    story(
        "copy, one of two may fail",
        UPLOAD,
        begin(COPY, stores=["web", "slow"], all_stores_must_succeed=False),
    ),
    story("direct, one of two fails", stage(), begin(DIRECT, stores=["slow", "web"])),
    story("direct, the first of two fails", stage(), begin(DIRECT, stores=["web", "slow"])),
    story(
        "direct, the first of two may fail",
        stage(),
        begin(DIRECT, stores=["web", "slow"], all_stores_must_succeed=False),
    ),
    story("glance, no region", begin({"name": "glance-download"})),
    story("glance, no image", begin({"name": "glance-download", "glance_region": "x"})),
    story(
        "glance, no id",
        begin({"name": "glance-download", "glance_region": "x", "glance_image_id": "y"}),
    ),
    story(
        "glance, no such region",
        begin({"name": "glance-download", "glance_region": "x", "glance_image_id": UNKNOWN}),
    ),
    story("copy, to all", UPLOAD, begin(COPY, all_stores=True)),
    story("copy, where it is", UPLOAD, begin(COPY, stores=["fast"])),
    story("copy, no stores", UPLOAD, begin(COPY)),
    story("copy, unknown", UPLOAD, begin(COPY, stores=["none"])),
    story("no method", Step("POST", "/images/{id}/import", {})),
    story("no name", begin({})),
    story("unknown method", begin({"name": "magic"})),
    story("must succeed, no truth", web(all_stores_must_succeed="yes")),
    story("all stores, no truth", web(all_stores="yes")),
    story("no body", Step("POST", "/images/{id}/import")),
    story("no JSON", Step("POST", "/images/{id}/import", body=b"{")),
    story("tasks of an image", Step("GET", "/images/{id}/tasks")),
    story("tasks of an import", web(), Step("GET", "/images/{id}/tasks")),
    story("tasks of a failure", web(uri="{web}/missing"), Step("GET", "/images/{id}/tasks")),
    story("tasks of an unknown image", Step("GET", f"/images/{UNKNOWN}/tasks")),
    story("an unknown task", Step("GET", f"/tasks/{UNKNOWN}")),
    story("delete a task", Step("DELETE", f"/tasks/{UNKNOWN}")),
    *(
        story(f"make a task: {json.dumps(document)}", Step("POST", "/tasks", document))
        for document in (
            {},
            {"type": "import"},
            {"type": "export", "input": {}},
            {"type": "import", "input": "x"},
            {"type": "import", "input": {"import_from": "file:///etc/passwd"}},
            {"type": "import", "input": {"import_from": "swift://x"}},
            {"type": "import", "input": {"import_from": "http://169.254.169.254/"}},
        )
    ),
    *(
        story(f"tasks?{query}", Step("GET", f"/tasks?{query}"))
        for query in (
            *("limit=x", "limit=-1", "limit=0", "marker=x", f"marker={UNKNOWN}", "sort_dir=up"),
            *("sort_key=message", "status=none", "type=none", "type=import", "status=pending"),
        )
    ),
    story("ways", Step("GET", "/info/import")),
    story("ways, with a body", Step("GET", "/info/import", body=b"x")),
]


def told(side: Side, step: Step, image: str) -> list[Any]:
    """Put a request; return its answer, and what the image is once nothing goes on."""
    answer = step.put(side, image)
    seen: list[Any] = [answer.status]
    if answer.status == 200 and step.path != "/images/{id}/file":
        seen.append(shape(json.loads(answer.body), side, image))
    if answer.status == 202:
        seen.append(answer.body)
        until("the import", lambda: LOCK not in show(side, image))
    found = show(side, image)
    seen.append({name: found[name] for name in TOLD if name in found})
    return seen


def show(side: Side, image: str) -> Any:
    answer = Step("GET", "/images/{id}").put(side, image)
    return json.loads(answer.body) if answer.status == 200 else {"status": answer.status}


def shape(value: Any, side: Side, image: str) -> Any:
    """Make documents comparable: ids, times and messages, which are in words, are what they are."""
    if isinstance(value, dict):
        return {
            name: bool(inner) if name == "message" else shape(inner, side, image)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [shape(inner, side, image) for inner in value]
    if isinstance(value, str):
        text = value.replace(image, "<image>").replace(side.web, "<web>")
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+(\.\d+)?Z?", "<time>", text)
        return re.sub(r"(req-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", text)
    return value


@pytest.mark.parametrize("each", STORIES, ids=lambda each: each.title)
def test_alike(sides: tuple[Side, Side], each: Story) -> None:
    seen = []
    for side in sides:
        image = side.api.create(**dict(each.fields))
        seen.append([told(side, step, image) for step in each.steps])
    if each.title in OTHERWISE:
        assert seen[1] != seen[0]
        last = seen[1][-1][-1]
        assert (last["status"], last["os_glance_importing_to_stores"]) == ("queued", "")
        assert last["os_glance_failed_import"]
    else:
        assert seen[1] == seen[0]


PREFIXED = {
    "hw_disk_bus": "scsi",
    "os_distro": "debian",
    "os_type": "linux",
    "trait:HW_X": "required",
}
NOT_TAKEN = {"os_hidden": True, "min_disk": 3, "tags": ["of-theirs"], "os_version": "13"}
# What is each image's own; and what Glance does not have.
OF_EACH = {"id", "created_at", "updated_at", "self", "file", "schema", "locations", "os_manifest"}


def remote(image: str, **more: str) -> Step:
    return begin(
        {
            "name": "glance-download",
            "glance_region": "RegionOne",
            "glance_image_id": image,
            **more,
        },
    )


@pytest.fixture
def region(glance: Glance, keystone: Keystone) -> ImagesApi:
    """A Glance that Keystone's catalog names, as those of other regions."""
    return ImagesApi(glance.url, {"X-Auth-Token": keystone.token(ADMIN)})


@pytest.fixture
def knowing(sides: tuple[Side, Side], region: ImagesApi, keystone: Keystone) -> tuple[Side, Side]:
    """The two with a token that is newer than the region: Glance remembers catalogs with tokens."""
    assert region.url
    headers = {"X-Auth-Token": keystone.new_token(ADMIN)}
    one, other = (replace(side, api=replace(side.api, headers=headers)) for side in sides)
    return one, other


def record(side: Side, image: str) -> dict[str, Any]:
    return {name: value for name, value in show(side, image).items() if name not in OF_EACH}


@pytest.mark.parametrize("interface", ["public", "internal"])
def test_an_image_of_another_region(
    knowing: tuple[Side, Side], region: ImagesApi, interface: str
) -> None:
    """What the image had stays, but for its formats and what is named as configured."""
    data = DATA * 100
    image = region.add(data, name="theirs", disk_format="raw", **PREFIXED, **NOT_TAKEN)
    seen = []
    for side in knowing:
        ours = side.api.create(
            name="ours", disk_format="iso", container_format="ovf", hw_disk_bus="ide", kept="yes"
        )
        answers = told(side, remote(image, glance_service_interface=interface), ours)
        assert side.api.download(ours).expect(200).body == data
        tasks = shape(Step("GET", f"/images/{ours}/tasks").put(side, ours).json(), side, ours)
        seen.append((answers, record(side, ours), tasks))
    assert seen[1] == seen[0]
    found = seen[1][1]
    theirs = region.show(image)
    for name in ("disk_format", "container_format", "size", "checksum", "os_hash_value", *PREFIXED):
        assert found[name] == theirs[name]
    assert (found["status"], found["name"], found["kept"]) == ("active", "ours", "yes")
    assert not {"os_version"} & found.keys()
    (task,) = seen[1][2]["tasks"]
    assert task["status"] == "success"


@pytest.mark.parametrize("is_there", [True, False])
def test_an_image_of_another_region_that_has_no_data(
    knowing: tuple[Side, Side], region: ImagesApi, *, is_there: bool
) -> None:
    """It is queued, or is not there: what our image was before is what it is again."""
    image = region.create(disk_format="raw", **PREFIXED) if is_there else UNKNOWN
    seen = []
    for side in knowing:
        ours = side.api.create(disk_format="iso", hw_disk_bus="ide")
        assert told(side, remote(image), ours)[:2] == [202, b""]
        tasks = shape(Step("GET", f"/images/{ours}/tasks").put(side, ours).json(), side, ours)
        found = record(side, ours)
        marks = [
            found.pop(f"os_glance_{name}") for name in ("importing_to_stores", "failed_import")
        ]
        seen.append((found, tasks, marks))
    assert seen[1][:2] == seen[0][:2]
    found, tasks, marks = seen[1]
    assert (found["status"], found["disk_format"], found["hw_disk_bus"]) == ("queued", "iso", "ide")
    assert not {"os_distro", "os_type"} & found.keys()
    assert (tasks["tasks"][0]["status"], marks) == ("failure", ["", "fast"])
    assert seen[0][2] == ["fast", ""]  # OTHERWISE tells why
