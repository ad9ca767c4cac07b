"""Changes of locations by PATCH: the real Glance and our catalog do the same, call by call."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.catalog import STORES_OF_GLANCE, THIS_MACHINE, running_catalog
from harness.glance import FileServer, Glance
from harness.images_api import ImagesApi
from harness.waiting import until

V21 = "application/openstack-images-v2.1-json-patch"
DATA = b"located" * 100
OTHER = b"another" * 50
SHA512 = hashlib.sha512(DATA).hexdigest()
HASHES = {
    "checksum": hashlib.md5(DATA).hexdigest(),
    "os_hash_algo": "sha512",
    "os_hash_value": SHA512,
}


@dataclass(frozen=True, slots=True)
class Both:
    """Two endpoints that should do the same, and a web server with files for both."""

    glance: ImagesApi
    ours: ImagesApi
    web: str


@pytest.fixture(scope="module")
def both(
    glance_open: Glance, file_server: FileServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    for name, data in {"one": DATA, "two": DATA, "other": OTHER, "empty": b""}.items():
        (file_server.directory / name).write_bytes(data)
    directory = tmp_path_factory.mktemp("catalog")
    more = STORES_OF_GLANCE.format(directory=directory) + THIS_MACHINE
    with running_catalog(directory, more) as catalog:
        yield Both(ImagesApi(glance_open.url), ImagesApi(catalog.url), file_server.url)


def add(url: str, position: str = "-", metadata: Any = None, **validation: str) -> Any:
    value: dict[str, Any] = {"url": url, "metadata": metadata or {}}
    if validation:
        value["validation_data"] = validation
    return {"op": "add", "path": f"/locations/{position}", "value": value}


def put(*places: Any, **validation: str) -> Any:
    value = [
        {"url": place, "metadata": {}} if isinstance(place, str) else place for place in places
    ]
    if validation:
        value[0]["validation_data"] = validation
    return {"op": "replace", "path": "/locations", "value": value}


def remove(position: str) -> Any:
    return {"op": "remove", "path": f"/locations/{position}"}


ONE, TWO = "{web}/one", "{web}/two"
NAME = {"op": "replace", "path": "/name", "value": "renamed"}


@dataclass(frozen=True, slots=True)
class Story:
    """What is asked of a new image, one PATCH after the other."""

    title: str
    patches: tuple[list[Any], ...]
    fields: tuple[tuple[str, Any], ...] = ()
    data: bool = False  # uploaded before
    otherwise: tuple[int, int] | None = None  # what the last one answers: Glance's status, ours
    ordered: bool = True  # as ours is in Glance


def story(title: str, *patches: list[Any], **more: Any) -> Story:
    return Story(title, patches, tuple(more.pop("fields", {}).items()), **more)


STORIES = [
    story("add to a queued image", [add(ONE)]),
    story("add at a number", [add(ONE, "0")]),
    story("add far behind the end", [add(ONE, "17")]),
    story("add at no position", [add(ONE, "first")]),
    story("add below zero", [add(ONE, "-1")]),
    story("add too deep", [{**add(ONE), "path": "/locations/0/url"}]),
    story("add without a position", [{**add(ONE), "path": "/locations"}]),
    story("replace one", [{**add(ONE), "op": "replace", "path": "/locations/0"}]),
    story("remove all", [add(ONE)], [{"op": "remove", "path": "/locations"}]),
    story("no object", [{**add(ONE), "value": "x"}]),
    story("no url", [{**add(ONE), "value": {"metadata": {}}}]),
    story("no metadata", [{**add(ONE), "value": {"url": ONE}}]),
    story("metadata that are texts", [add(ONE, metadata={"a": "b", "c": {"d": ["e"]}})]),
    # Glance fails over it.
    story("metadata that are not", [add(ONE, metadata={"a": 1})], otherwise=(500, 400)),
    story("with hashes", [add(ONE, **HASHES)]),
    story("with hashes of other data", [add(ONE, **{**HASHES, "checksum": "0" * 32})]),
    story("a checksum alone", [add(ONE, checksum=HASHES["checksum"])]),
    story("no md5", [add(ONE, **{**HASHES, "checksum": "x" * 32})]),
    story("a short md5", [add(ONE, **{**HASHES, "checksum": "0"})]),
    story("another algorithm", [add(ONE, os_hash_algo="sha256", os_hash_value="00" * 32)]),
    story("no hash", [add(ONE, os_hash_algo="sha512", os_hash_value="xyz")]),
    story("a short hash", [add(ONE, os_hash_algo="sha512", os_hash_value="00")]),
    story("unknown hashes", [add(ONE, **HASHES, sha1="x")]),
    story("hashes to an active image", [add(ONE)], [add(TWO, **HASHES)]),
    story("the same hashes again", [add(ONE, **HASHES)], [add(TWO, **HASHES)]),
    story("other hashes", [add(ONE, **HASHES)], [add(TWO, **{**HASHES, "checksum": "0" * 32})]),
    story("a second place", [add(ONE)], [add(TWO)]),
    # Glance forgets the position as soon as it has answered.
    story("a second place first", [add(ONE)], [add(TWO, "0")], ordered=False),
    story("a place twice", [add(ONE)], [add(ONE)]),
    story("a place twice at once", [add(ONE), add(ONE)]),
    story("two places at once", [add(ONE), add(TWO)]),
    story("a place with other metadata", [add(ONE)], [add(ONE, metadata={"a": "b"})]),
    story("beside uploaded data", [add(ONE)], data=True),
    story("beside uploaded data, with hashes", [add(ONE, **HASHES)], data=True),
    story("without a format", [add(ONE)], fields={"disk_format": None}),
    story("without formats", [add(ONE)], fields={"disk_format": None, "container_format": None}),
    story("and a name", [NAME, add(ONE)]),
    story("and a name that is refused", [add(ONE), {**NAME, "value": 1}]),
    story("and what is read only", [add(ONE), {**NAME, "path": "/status", "value": "queued"}]),
    story("nothing there", [add("{web}/absent")]),
    story("nothing in it", [add("{web}/empty")]),
    story("nobody there", [add("http://127.0.0.1:9/one")]),
    story("a host that is not allowed", [add("http://127.0.0.2/one")]),
    story("a number for a host", [add("http://2130706433/one")]),
    story("a user in it", [add("http://user:secret@{host}/one")]),
    story("a file", [add("file:///etc/passwd")]),
    story("a file in another way", [add("filesystem:///etc/passwd")]),
    story("an account of the operator's", [add("swift+config://ref1/glance/x")]),
    story("a store that is not there", [add("swift+http://u:k@127.0.0.1:5000/v3/c/o")]),
    story("no scheme", [add("one")]),
    story("nothing", [add("")]),
    story("too long", [add("{web}/" + "x" * 255)]),
    story("ten places", [add(f"{{web}}/one?{number}") for number in range(10)]),
    story("eleven places", [add(f"{{web}}/one?{number}") for number in range(11)]),
    story("an eleventh", [add(f"{{web}}/one?{number}") for number in range(10)], [add(TWO)]),
    story("replace of a queued image", [put(ONE)]),
    story("replace by two", [put(ONE, TWO)]),
    story("replace by one twice", [put(ONE, ONE)]),
    story("replace by eleven", [put(*(f"{{web}}/one?{number}" for number in range(11)))]),
    story("replace with hashes", [put(ONE, **HASHES)]),
    story("replace by nothing", [put()]),
    story("replace by nothing, active", [add(ONE)], [put()]),
    story("replace by no list", [{**put(), "value": {}}]),
    story("replace by a file", [put("file:///etc/passwd")]),
    story("replace by others", [add(ONE)], [put(TWO)]),
    story("replace by more", [add(ONE)], [put(ONE, TWO)]),
    story("replace by the same", [add(ONE)], [put(ONE)]),
    story("other metadata", [add(ONE)], [put({"url": ONE, "metadata": {"a": "b"}})]),
    story("another order", [add(ONE)], [add(TWO)], [put(TWO, ONE)]),
    story("replace of uploaded data", [put(ONE)], data=True),
    story("add all", [{**put(ONE), "op": "add"}]),
    story("remove of a queued image", [remove("0")]),
    story("remove the last", [add(ONE)], [remove("0")]),
    story("remove one of two", [add(ONE)], [add(TWO)], [remove("0")]),
    story("remove the second", [add(ONE)], [add(TWO)], [remove("1")]),
    story("remove the end", [add(ONE)], [add(TWO)], [remove("-")]),
    story("remove what is not there", [add(ONE)], [add(TWO)], [remove("2")]),
    story("remove no position", [add(ONE)], [add(TWO)], [remove("x")]),
    story("remove both", [add(ONE)], [add(TWO)], [remove("0"), remove("0")]),
    story("add and remove", [add(ONE), add(TWO), remove("0")]),
    story("remove uploaded data", [add(ONE)], [remove("0")], data=True),
]


def ask(api: ImagesApi, web: str, told: Story) -> tuple[list[int], Any]:
    """Tell a story; return what was answered, and the image in the end."""

    def filled(document: Any) -> Any:
        text = json.dumps(document).replace("{web}", web).replace("{host}", web.partition("//")[2])
        return json.loads(text)

    image = api.create(**dict(told.fields))
    if told.data:
        api.upload(image, DATA)
    headers = {"Content-Type": V21}
    statuses = [
        api.call("PATCH", f"/{image}", headers=headers, document=filled(patch)).status
        for patch in told.patches
    ]
    shown = api.show(image)
    told_of = ("name", "status", "size", "checksum", "os_hash_algo", "os_hash_value", "stores")
    # Ours does not show passwords; what was uploaded is in a directory of each side's own.
    # Of ours neither a password is shown nor a query.
    urls = [
        re.sub(r"\?.*", "?***", place["url"].replace("user:secret@", ""))
        for place in shown["locations"]
    ]
    places = [
        (url if url.startswith(web) else "", place["metadata"])
        for url, place in zip(urls, shown["locations"], strict=True)
    ]
    return statuses, {name: shown.get(name) for name in told_of} | {
        "locations": places,
        "data": api.call("GET", f"/{image}/file").body,
    }


@pytest.mark.parametrize("told", STORIES, ids=lambda told: told.title)
def test_the_same_of_locations(both: Both, told: Story) -> None:
    theirs, their_image = ask(both.glance, both.web, told)
    ours, our_image = ask(both.ours, both.web, told)
    if told.otherwise is not None:
        assert (theirs[-1], ours[-1]) == told.otherwise
        theirs[-1] = ours[-1]
    if not told.ordered:
        their_image["locations"].reverse()
    assert ours == theirs
    assert our_image == their_image


def test_what_came_by_its_place_has_a_manifest_in_the_end(both: Both) -> None:
    image = both.ours.add_located(f"{both.web}/one", DATA)
    both.ours.call("GET", f"/{image}/download-right").expect(204)
    until("the manifest", lambda: both.ours.show(image)["os_manifest"])
    both.ours.call("GET", f"/{image}/manifest").expect(200)
