"""The proxy reads image data straight from the stores of a real Glance, which only says who may."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from harness.glance import FileServer, Glance, running_stored_glance
from harness.http import ask
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, GLANCE, MEMBER, READER, STRANGER, Keystone, User
from harness.store_reader import DATA, MIB, SIZE, StoreReader, store_reader
from harness.stores import Store
from harness.swift import Swift

SPAN = (5 * MIB - 7, 5 * MIB + 8)  # over a border of chunks
LITTLE = 64 << 10  # what an OSD may be asked for meanwhile by others
# What Glance's record of an image shows, and whether the proxy has an account for the other way.
WAYS: dict[str, tuple[tuple[str, ...], bool]] = {
    "locations API": ((), True),
    "locations": (("locations",), False),
    "direct_url": (("direct_url",), False),
}


@pytest.fixture(scope="module", params=["glance_on_swift", "glance_on_ceph"])
def stores(request: pytest.FixtureRequest) -> list[Store]:
    """Give all stores that are in Swift, or in Ceph."""
    _, stores = request.getfixturevalue(request.param)
    return list(stores.values())


@pytest.mark.parametrize("way", WAYS)
async def test_the_data_come_from_the_store(
    stores: list[Store], keystone: Keystone, tmp_path: Path, way: str
) -> None:
    """Whole and in part, byte for byte, whichever way Glance tells where they are."""
    shown, account = WAYS[way]
    running = running_stored_glance(tmp_path / "glance", keystone, stores, shown=shown)
    (tmp_path / "glance").mkdir()
    glance = await asyncio.to_thread(running.__enter__)
    try:
        async with store_reader(tmp_path, glance, keystone, account=account) as told:
            for store in stores:
                await read_directly(told, store)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def read_directly(told: StoreReader, store: Store) -> None:
    """Read an image, a part first; see where its bytes came from."""
    image = await told.add(store)
    already = await told.direct_bytes(store)
    before = await asyncio.to_thread(store.read_bytes)
    first, last = SPAN
    part = told.ask(image, f"bytes={first}-{last - 1}", token=told.token())
    assert await part.body() == DATA[first:last], store
    assert part.status == 206
    assert part.headers["content-range"] == f"bytes {first}-{last - 1}/{SIZE}"
    assert await told.direct_bytes(store) - already == 2 * MIB  # the chunks that it is in
    whole = told.ask(image, token=told.token())
    assert sha256(await whole.body()).hexdigest() == sha256(DATA).hexdigest(), store
    assert await told.direct_bytes(store) - already == SIZE
    assert await told.upstream_bytes() == 0
    assert await asyncio.to_thread(store.read_bytes) - before < SIZE + LITTLE  # once, by us
    assert set(told.glance.sent(image)) == {416}  # but whether he may was asked
    tail = told.ask(image, "bytes=-10", token=told.token())
    assert await tail.body() == DATA[-10:]


async def test_who_may_not_gets_glances_refusal_and_no_byte(
    stored_glance: tuple[Glance, Store], keystone: Keystone, tmp_path: Path
) -> None:
    """Of what nobody has read, of what is cached in part, and of what was deactivated then."""
    glance, store = stored_glance
    async with store_reader(tmp_path, glance, keystone) as told:
        image = await told.add(store)
        before = await asyncio.to_thread(store.read_bytes)
        await check_refused(told, image, READER, STRANGER, None)
        assert await asyncio.to_thread(store.read_bytes) - before < LITTLE
        assert await told.direct_bytes(store) == 0
        assert len(await told.ask(image, "bytes=0-9", token=told.token()).body()) == 10
        read = await told.direct_bytes(store)
        assert read == MIB
        await check_refused(told, image, READER, STRANGER, None)
        admin = ImagesApi(told.node.url, {"X-Auth-Token": told.token(ADMIN)})
        path = f"/{image}/actions/deactivate"
        (await asyncio.to_thread(admin.call, "POST", path)).expect(204)
        await check_refused(told, image, MEMBER, READER, STRANGER, None)
        assert await told.direct_bytes(store) == read
        assert await told.ask(image, token=told.token(ADMIN)).body() == DATA


async def check_refused(told: StoreReader, image: str, *users: User | None) -> None:
    """See that each gets, to the whole and to a part, what Glance itself says."""
    for user in users:
        token = None if user is None else told.token(user)
        for span in (None, "bytes=0-9"):
            headers = {"X-Auth-Token": token} if token else {}
            if span is not None:
                headers["Range"] = span
            path = f"/v2/images/{image}/file"
            right = await asyncio.to_thread(ask, "GET", told.glance.url + path, headers=headers)
            found = told.ask(image, span, token=token)
            body = await found.body()
            assert (found.status, body) == (right.status, right.body), (user, span)
            assert right.status in (401, 403, 404)


async def test_many_read_at_once_and_the_store_is_read_once(
    stored_glance: tuple[Glance, Store], keystone: Keystone, tmp_path: Path
) -> None:
    """Whole, and parts of it from its end on."""
    glance, store = stored_glance
    async with store_reader(tmp_path, glance, keystone) as told:
        image = await told.add(store)
        before = await asyncio.to_thread(store.read_bytes)
        starts = [n * MIB + 77 for n in range(8, 0, -1)]
        parts = [told.ask(image, f"bytes={n}-{n + 99}", token=told.token()) for n in starts]
        wholes = [told.ask(image, token=told.token()) for _ in range(4)]
        for start, part in zip(starts, parts, strict=True):
            assert await part.body() == DATA[start : start + 100]
        for whole in wholes:
            assert await whole.body() == DATA
        assert await told.direct_bytes(store) == SIZE
        assert await asyncio.to_thread(store.read_bytes) - before < SIZE + LITTLE
        assert 200 not in glance.sent(image)


async def test_the_store_that_a_reader_prefers(
    glance_on_swift: tuple[Glance, dict[str, Store]], keystone: Keystone, tmp_path: Path
) -> None:
    """Of an image that is in two; a name that is no store's is Glance's to refuse."""
    glance, stores = glance_on_swift
    swift, s3 = stores["swift"], stores["s3"]
    async with store_reader(tmp_path, glance, keystone) as told:
        for preferred, other in ((swift, s3), (s3, swift)):
            image = await asyncio.to_thread(imported, glance, (swift, s3))
            before = await told.direct_bytes(preferred), await told.direct_bytes(other)
            query = f"?prefer={preferred.name}"
            assert await told.ask(image, query=query, token=told.token()).body() == DATA
            after = await told.direct_bytes(preferred), await told.direct_bytes(other)
            assert (after[0] - before[0], after[1] - before[1]) == (SIZE, 0)
            assert 200 not in glance.sent(image)
        image = await told.add(swift)
        wrong = told.ask(image, query="?prefer=nowhere", token=told.token())
        await wrong.body()
        assert wrong.status == 400


async def test_what_is_elsewhere_comes_through_glance(
    glance_on_swift: tuple[Glance, dict[str, Store]],
    file_server: FileServer,
    keystone: Keystone,
    tmp_path: Path,
) -> None:
    """Paths and addresses are Glance's own, though its file configures these stores too."""
    glance, _ = glance_on_swift
    admin = ImagesApi(glance.url, {"X-Auth-Token": keystone.token(ADMIN)})
    served = file_server.directory / "elsewhere"
    served.write_bytes(DATA)
    async with store_reader(tmp_path, glance, keystone) as told:
        in_file = await asyncio.to_thread(admin.add, DATA, visibility="public")
        behind_http = await asyncio.to_thread(
            admin.add_located, f"{file_server.url}/{served.name}", DATA, visibility="public"
        )
        for count, image in enumerate((in_file, behind_http), 1):
            assert await told.ask(image, token=told.token()).body() == DATA
            assert await told.upstream_bytes() == count * SIZE
        assert not any(
            value
            for name, value in (await asyncio.to_thread(told.node.metrics)).items()
            if name.startswith("cacheproxy_direct_")
        )


@pytest.mark.parametrize("fate", ["gone", "wrong"])
async def test_a_copy_that_is_not_what_it_was(
    glance_on_swift: tuple[Glance, dict[str, Store]],
    swift: Swift,
    keystone: Keystone,
    tmp_path: Path,
    fate: str,
) -> None:
    """The other store has the image too; a wrong copy is known by its hash, once it was read."""
    glance, stores = glance_on_swift
    first, second = stores["swift"], stores["s3"]
    async with store_reader(tmp_path, glance, keystone) as told:
        image = await asyncio.to_thread(imported, glance, (first, second))
        method, body = ("DELETE", None) if fate == "gone" else ("PUT", random_bytes(SIZE, seed=62))
        place = f"{swift.account(GLANCE)}/{first.options['swift_store_container']}/{image}"
        headers = {"X-Auth-Token": keystone.token(GLANCE)}
        changed = await asyncio.to_thread(ask, method, place, headers=headers, body=body)
        changed.expect(201, 204)
        query = f"?prefer={first.name}"
        if fate == "wrong":
            broken = told.ask(image, query=query, token=told.token())
            assert await broken.ended() != "whole"
            assert len(broken.data) < SIZE
        assert await told.ask(image, query=query, token=told.token()).body() == DATA
        assert await told.failures(first) == (fate == "gone")
        assert await told.direct_bytes(first) == (SIZE if fate == "wrong" else 0)
        assert await told.direct_bytes(second) == SIZE
        assert await told.upstream_bytes() == 0


def imported(glance: Glance, stores: Sequence[Store]) -> str:
    """Import an image into several stores."""
    api = ImagesApi(glance.url, glance.headers)
    image = api.create()
    headers = {"Content-Type": "application/octet-stream"}
    api.call("PUT", f"/{image}/stage", headers=headers, body=DATA).expect(204)
    names = [store.name for store in stores]
    document = {"method": {"name": "glance-direct"}, "stores": names}
    api.call("POST", f"/{image}/import", document=document).expect(202)
    api.settle(image)
    assert sorted(api.show(image)["stores"].split(",")) == sorted(names)
    return image
