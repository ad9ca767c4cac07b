"""Quotas: what runs into them is answered as the real Glance answers it, with the real Keystone.

Beside that, they are exact here, which Glance's are not.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from harness.catalog import WITH_KEYSTONE, Catalog, running_catalog
from harness.glance import Glance, running_glance
from harness.http import Answer
from harness.images_api import ImagesApi
from harness.keystone import MEMBER, Keystone
from harness.quotas import WITH_LIMITS, Limited, register

KIB, MIB = 1 << 10, 1 << 20
OCTETS = {"Content-Type": "application/octet-stream"}
V21 = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
STORAGE = """
[DEFAULT]
user_storage_quota = 3KB
"""
SAID = re.compile(r"Project \S+ is over a limit for \[.*\]|exceeds the storage quota.*remaining")


@pytest.fixture(scope="module")
def limited(keystone: Keystone) -> Limited:
    return register(keystone)


def configured(limited: Limited) -> str:
    return WITH_LIMITS.format(keystone=limited.keystone.url, endpoint=limited.endpoint)


@pytest.fixture(scope="module")
def glance(limited: Limited, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    directory = tmp_path_factory.mktemp("glance-limited")
    with running_glance(directory, limited.keystone, configured(limited)) as running:
        yield running


@pytest.fixture(scope="module")
def instances(
    limited: Limited, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Catalog, Catalog]]:
    """Run two instances on one database."""
    first, second = (tmp_path_factory.mktemp(f"catalog-{number}") for number in "12")
    more = WITH_KEYSTONE.format(keystone=limited.keystone.url) + configured(limited)
    shared = f"""
        [database]
        connection = sqlite:///{first}/registry.sqlite
        [glance_store]
        filesystem_store_datadir = {first}/images
    """.replace("        ", "")
    with running_catalog(first, more) as one, running_catalog(second, more + shared) as other:
        yield one, other


def upload(api: ImagesApi, image: str, size: int, *, known: bool = True) -> Answer:
    body: bytes | Iterable[bytes] = bytes(size)
    if not known:
        body = (bytes(min(64 << 10, size - at)) for at in range(0, size, 64 << 10))
    return api.call("PUT", f"/{image}/file", body=body, headers=OCTETS)


class Talk:
    """What a caller says, and what came of it."""

    def __init__(self, api: ImagesApi) -> None:
        self.api = api
        self.heard: list[tuple[int, str]] = []
        self.image = ""

    def hear(self, answer: Answer) -> Answer:
        text = answer.body.decode()
        said = SAID.search(text.replace("&#x27;", "'")) if answer.status == 413 else None
        self.heard.append((answer.status, said[0] if said else ""))
        return answer

    def create(self, **fields: object) -> None:
        document = {"disk_format": "raw", "container_format": "bare", **fields}
        answer = self.hear(self.api.call("POST", "", document=document))
        if answer.status == 201:
            self.image = answer.json()["id"]

    def put(self, size: int, *, known: bool = True) -> None:
        self.hear(upload(self.api, self.image, size, known=known))
        shown = self.api.call("GET", f"/{self.image}")
        status = shown.json()["status"] if shown.status == 200 else "absent"
        self.heard.append((0, status))


def too_many_images(talk: Talk) -> None:
    for _ in range(4):
        talk.create()
    talk.create(visibility="public")  # forbidden, and too many
    talk.create(os_glance_x="y")
    talk.hear(talk.api.call("DELETE", f"/{talk.image}"))
    talk.create()


def too_much_data(talk: Talk) -> None:
    talk.create()
    talk.put(2 * MIB)
    talk.create()
    talk.put(2 * MIB)
    talk.put(MIB, known=False)
    talk.create()
    talk.put(MIB)
    talk.put(MIB // 2)
    talk.image = str(uuid4())
    talk.put(MIB)  # to nothing, and too much
    talk.put(0)


def too_many_uploads(talk: Talk) -> None:
    talk.create()
    talk.put(10)
    talk.put(10, known=False)


def too_much_staged(talk: Talk) -> None:
    def stage(size: int) -> None:
        talk.hear(talk.api.call("PUT", f"/{talk.image}/stage", body=bytes(size), headers=OCTETS))
        talk.heard.append((0, talk.api.call("GET", f"/{talk.image}").json()["status"]))

    talk.create()
    stage(2 * MIB)
    stage(MIB)
    talk.create()
    stage(MIB)
    talk.image = str(uuid4())
    talk.hear(talk.api.call("PUT", f"/{talk.image}/stage", body=bytes(MIB), headers=OCTETS))


def too_many_staged(talk: Talk) -> None:
    talk.create()
    talk.hear(talk.api.call("PUT", f"/{talk.image}/stage", body=b"x", headers=OCTETS))


def nothing_to_be_had(talk: Talk) -> None:
    talk.create()
    talk.put(10)
    talk.create()
    talk.put(MIB)


STORIES: dict[str, tuple[Callable[[Talk], None], dict[str, int]]] = {
    "images": (too_many_images, {"image_count_total": 2}),
    "data": (too_much_data, {"image_size_total": 3}),
    "uploads": (too_many_uploads, {"image_count_uploading": 0}),
    "staged": (too_much_staged, {"image_stage_total": 1}),
    "stages": (too_many_staged, {"image_count_uploading": 0}),
    "nothing": (nothing_to_be_had, {"image_size_total": 0, "image_stage_total": 0}),
}


@pytest.mark.parametrize("name", STORIES)
def test_like_glance(
    limited: Limited, glance: Glance, instances: tuple[Catalog, Catalog], name: str
) -> None:
    story, limits = STORIES[name]
    user = limited.user(name, **limits)
    heard = []
    for url in (glance.url, instances[0].url):
        talk = Talk(limited.api(url, user))
        story(talk)
        heard.append((talk.heard, limited.usage(url, user)))
    theirs, ours = heard
    assert json.dumps(ours) == json.dumps(theirs)
    assert 413 in {status for status, _ in ours[0]}


def test_images_are_counted_exactly(limited: Limited, instances: tuple[Catalog, Catalog]) -> None:
    user = limited.user("hurried", image_count_total=17)
    apis = [limited.api(each.url, user) for each in instances]

    def create(number: int) -> int:
        return apis[number % 2].call("POST", "", document={}).status

    with ThreadPoolExecutor(50) as pool:
        assert Counter(pool.map(create, range(50))) == {201: 17, 413: 33}
    assert limited.usage(instances[0].url, user)["image_count_total"]["usage"] == 17


@pytest.mark.parametrize("known", [True, False])
def test_bytes_are_counted_exactly(
    limited: Limited, instances: tuple[Catalog, Catalog], *, known: bool
) -> None:
    """Of images of 1 MiB each, seven fit."""
    user = limited.user(f"heavy-{known}", image_size_total=7)
    apis = [limited.api(each.url, user) for each in instances]
    images = [apis[0].create() for _ in range(20)]

    def put(number: int) -> int:
        return upload(apis[number % 2], images[number], MIB, known=known).status

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(put, range(20)))
    assert set(answers) <= {204, 413}
    if known:
        assert answers.count(204) == 7
    again = [number for number, status in enumerate(answers) if status == 413]
    assert answers.count(204) + [put(number) for number in again].count(204) == 7
    usage = limited.usage(instances[1].url, user)
    assert (usage["image_size_total"]["usage"], usage["image_count_uploading"]["usage"]) == (7, 0)
    assert [apis[0].call("GET", f"/{each}").json()["status"] for each in images].count(
        "active"
    ) == 7


def test_data_of_unknown_size_ends_where_there_is_no_room(
    limited: Limited, instances: tuple[Catalog, Catalog]
) -> None:
    """Glance takes it in, for there was room as it began."""
    user = limited.user("unknowing", image_size_total=1)
    api = limited.api(instances[0].url, user)
    image = api.create()
    assert upload(api, image, 3 * MIB, known=False).status == 413
    assert api.call("GET", f"/{image}").json()["status"] == "queued"
    assert upload(api, image, MIB, known=False).status == 204


def test_storage_of_the_operators_own(limited: Limited, tmp_path: Path) -> None:
    keystone = limited.keystone
    heard = []

    def story(url: str) -> None:
        talk = Talk(ImagesApi(url, {"X-Auth-Token": keystone.token(MEMBER)}))
        talk.create()
        talk.put(2 * KIB)
        talk.create()
        talk.put(2 * KIB)
        talk.put(KIB + 1)
        talk.hear(upload(talk.api, talk.image, 2 * KIB, known=False))
        talk.create()  # Glance leaves that one in saving
        talk.put(KIB, known=False)
        talk.create()
        talk.put(1)
        talk.put(10, known=False)
        talk.image = str(uuid4())
        talk.put(10)
        # What the texts say of sizes is not told alike for unknown ones.
        heard.append([(status, text.partition(":")[0]) for status, text in talk.heard])

    (tmp_path / "catalog").mkdir()
    with running_glance(tmp_path / "glance", keystone, STORAGE) as glance:
        story(glance.url)
    more = WITH_KEYSTONE.format(keystone=keystone.url) + STORAGE
    with running_catalog(tmp_path / "catalog", more) as catalog:
        story(catalog.url)
    assert heard[1] == heard[0]


def test_keystone_is_away(limited: Limited, tmp_path: Path) -> None:
    """Glance answers 500; what is no upload and no new image needs no limits."""
    away = configured(limited).replace(
        f"auth_url = {limited.keystone.url}", "auth_url = http://127.0.0.1:9/v3"
    )
    user = limited.user("patient", image_count_total=5)
    answers = []

    def story(url: str) -> None:
        api = limited.api(url, user)
        created = api.call("POST", "", document={})
        put = upload(api, str(uuid4()), 10)
        answers.append((created.status, put.status, api.call("GET", "").status))

    (tmp_path / "catalog").mkdir()
    with running_glance(tmp_path / "glance", limited.keystone, away) as glance:
        story(glance.url)
    more = WITH_KEYSTONE.format(keystone=limited.keystone.url) + away
    with running_catalog(tmp_path / "catalog", more) as catalog:
        story(catalog.url)
    assert answers == [(500, 500, 200), (503, 503, 200)]
