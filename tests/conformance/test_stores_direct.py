"""The proxy reads image data straight from the stores of a real Glance, which only says who may.

The proxy takes its stores from Glance's own file.  Where a store is to fail in the midst of a read,
the proxy alone reaches it over a piece of network that is cut, and Glance over none; an OSD is
halted, and Glance waits for it too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from harness.ceph import Ceph
from harness.downloads import Clients, clients
from harness.forwarder import Forwarder, forwarding
from harness.gate import Gate, gate
from harness.glance import Glance, running_stored_glance
from harness.http import ask
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, GLANCE, MEMBER, READER, STRANGER, Keystone, User
from harness.node import Node, async_node
from harness.stores import Store
from harness.swift import Swift
from harness.waiting import until

MIB = 1 << 20
SIZE = 9 * MIB + 5  # ten chunks, and as many segments
DATA = random_bytes(SIZE, seed=61)
SPAN = (5 * MIB - 7, 5 * MIB + 8)  # over a border of chunks
CUT = MIB + (MIB >> 1)  # of one connection; a driver may have several
STALL_SECONDS = 5.0  # of who is to notice a silence; others have all the time that they need
AGAIN_SECONDS = 60.0  # until a store that came back is tried
SLOW = "rbd_qos_read_bps_limit = 2097152\n"  # so that it lasts until its OSD halts
SECRET = re.compile(r"^s3_store_secret_key = (.+)$", re.MULTILINE)
IN_LOCATIONS = f"{GLANCE.name}:{GLANCE.password}@"  # of Swift, from which a password is read
LITTLE = 64 << 10  # what an OSD may be asked for meanwhile by others
SERVICE_USER = f"""
[service_user]
auth_url = {{keystone}}
username = {GLANCE.name}
password = {GLANCE.password}
project_name = {GLANCE.project}
"""
STORES = """
[stores]
config_file = {files}
stall_seconds = {seconds}
[cache]
complete_in_background = false
"""
# What Glance's record of an image shows, and whether the proxy has an account for the other way.
WAYS: dict[str, tuple[tuple[str, ...], bool]] = {
    "locations API": ((), True),
    "locations": (("locations",), False),
    "direct_url": (("direct_url",), False),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A node in front of a Glance that reads its stores."""

    node: Node
    ask: Clients
    glance: Glance
    keystone: Keystone

    def token(self, user: User = MEMBER) -> str:
        return self.keystone.token(user)

    async def metric(self, name: str) -> float:
        return (await asyncio.to_thread(self.node.metrics)).get(name, 0.0)

    async def direct_bytes(self, store: Store) -> float:
        return await self.metric(f'cacheproxy_direct_bytes_total{{kind="{store.kind}"}}')

    async def failures(self, store: Store) -> float:
        return await self.metric(f'cacheproxy_direct_failures_total{{kind="{store.kind}"}}')

    async def until_failed(self, store: Store) -> None:
        """Wait until a read of the store was given up."""
        name = f'cacheproxy_direct_failures_total{{kind="{store.kind}"}}'
        await asyncio.to_thread(
            until, "a failed read", lambda: self.node.metrics().get(name, 0.0) >= 1
        )

    async def until_sent(self, image: str) -> None:
        """Wait until Glance has logged that it sent the whole of an image."""
        await asyncio.to_thread(
            until, "Glance's answer", lambda: self.glance.sent(image).count(200) == 1
        )

    async def upstream_bytes(self) -> float:
        return await self.metric("cacheproxy_upstream_bytes_total")

    async def add(self, store: Store, data: bytes = DATA) -> str:
        return await asyncio.to_thread(added, self.glance, store, data)


def added(glance: Glance, store: Store, data: bytes) -> str:
    api = ImagesApi(glance.url, glance.headers)
    image = api.create(name=store.name)
    store.upload(api, image, data)
    return image


@asynccontextmanager
async def scene(
    directory: Path,
    glance: Glance,
    keystone: Keystone,
    *more: Path,
    account: bool = True,
    stall_seconds: float = 60.0,
    upstream: str = "",
) -> AsyncIterator[Scene]:
    """Run a node that has Glance's own file of stores, and files that tell what differs from it.

    It reaches Glance by way of `upstream`.
    """
    files = ",".join(str(path) for path in (glance.directory / "glance-api.conf", *more))
    told = STORES.format(files=files, seconds=stall_seconds)
    if account:
        told += SERVICE_USER.format(keystone=keystone.url)
    async with (
        async_node(directory, upstream or glance.url, more=told) as node,
        clients(node.url) as asking,
    ):
        yield Scene(node, asking, glance, keystone)
    said = node.program.log.read_text()
    secrets = SECRET.findall((glance.directory / "glance-api.conf").read_text())
    assert not any(secret in said for secret in (*secrets, IN_LOCATIONS))


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
        async with scene(tmp_path, glance, keystone, account=account) as told:
            for store in stores:
                await read_directly(told, store)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def read_directly(told: Scene, store: Store) -> None:
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


@pytest.mark.parametrize("stored_glance", ["swift", "segments", "s3", "gateway"], indirect=True)
async def test_a_store_that_dies_in_the_midst(
    stored_glance: tuple[Glance, Store], keystone: Keystone, tmp_path: Path
) -> None:
    """Its connections are reset, and others refused: the rest comes from Glance, and nobody notices."""
    glance, store = stored_glance
    async with (
        away(store, tmp_path) as (between, network, other),
        scene(tmp_path, glance, keystone, other) as told,
    ):
        image = await told.add(store)
        between.hold_after(CUT)
        reader = told.ask(image, token=told.token())
        await between.reached.wait()
        await network.down()
        assert await reader.body() == DATA
        assert await told.failures(store) >= 1
        assert await told.upstream_bytes() > 0
        await told.until_sent(image)
        # Nobody waits for it while it is away.
        second = await told.add(store, DATA[:MIB])
        assert await told.ask(second, token=told.token()).body() == DATA[:MIB]
        await told.until_sent(second)
        between.open()
        await network.up()
        await read_directly_again(told, store)


@pytest.mark.parametrize("stored_glance", ["swift", "segments", "s3", "gateway"], indirect=True)
async def test_a_store_that_falls_silent_in_the_midst(
    stored_glance: tuple[Glance, Store], keystone: Keystone, tmp_path: Path
) -> None:
    """Its connections stay, and bring nothing."""
    glance, store = stored_glance
    async with (
        away(store, tmp_path) as (between, network, other),
        scene(tmp_path, glance, keystone, other, stall_seconds=STALL_SECONDS) as told,
    ):
        image = await told.add(store)
        between.hold_after(CUT)
        reader = told.ask(image, token=told.token())
        await between.reached.wait()
        network.silence()
        assert await reader.body() == DATA
        assert await told.failures(store) >= 1
        assert await told.upstream_bytes() > 0
        between.open()
        network.speak()
        await read_directly_again(told, store)


async def test_an_osd_that_halts_in_the_midst(
    glance_on_ceph: tuple[Glance, dict[str, Store]], ceph: Ceph, keystone: Keystone, tmp_path: Path
) -> None:
    """Glance waits for the same one: what it sends when that goes on is what comes."""
    glance, stores = glance_on_ceph
    slow = tmp_path / "slow-ceph.conf"
    slow.write_text(f"{ceph.configuration.read_text()}\n[client]\n{SLOW}")
    other = tmp_path / "stores.conf"
    other.write_text(f"[rbd]\nrbd_store_ceph_conf = {slow}\n")
    store = stores["rbd"]
    async with scene(tmp_path, glance, keystone, other, stall_seconds=STALL_SECONDS) as told:
        image = await told.add(store)
        reader = told.ask(image, token=told.token())
        await reader.received(1)
        with ceph.paused(ceph.osd):
            await told.until_failed(store)
        assert await reader.body() == DATA
        assert await told.upstream_bytes() > 0
        await read_directly_again(told, store)


async def test_who_may_not_gets_glances_refusal_and_no_byte(
    stored_glance: tuple[Glance, Store], keystone: Keystone, tmp_path: Path
) -> None:
    """Of what nobody has read, of what is cached in part, and of what was deactivated then."""
    glance, store = stored_glance
    async with scene(tmp_path, glance, keystone) as told:
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


async def check_refused(told: Scene, image: str, *users: User | None) -> None:
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
    async with scene(tmp_path, glance, keystone) as told:
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


@pytest.mark.parametrize("stored_glance", ["swift", "segments", "s3", "gateway"], indirect=True)
async def test_glance_goes_away_in_the_midst(
    stored_glance: tuple[Glance, Store], keystone: Keystone, tmp_path: Path
) -> None:
    """Whoever was let in reads on; nobody else is until it is back."""
    glance, store = stored_glance
    async with (
        away(store, tmp_path) as (between, _, other),
        forwarding(glance.url) as network,
        scene(tmp_path, glance, keystone, other, upstream=network.url) as told,
    ):
        image = await told.add(store)
        between.hold_after(CUT)
        reader = told.ask(image, token=told.token())
        await between.reached.wait()
        await network.down()
        between.open()
        assert await reader.body() == DATA
        late = told.ask(image, token=told.token(STRANGER))
        await late.body()
        assert late.status == 503
        assert await told.direct_bytes(store) == SIZE
        await network.up()


async def test_the_store_that_a_reader_prefers(
    glance_on_swift: tuple[Glance, dict[str, Store]], keystone: Keystone, tmp_path: Path
) -> None:
    """Of an image that is in two; a name that is no store's is Glance's to refuse."""
    glance, stores = glance_on_swift
    swift, s3 = stores["swift"], stores["s3"]
    async with scene(tmp_path, glance, keystone) as told:
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
    async with scene(tmp_path, glance, keystone) as told:
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


async def read_directly_again(told: Scene, store: Store) -> None:
    """Read one image after the other until one comes from the store again, in good order each."""
    before = await told.direct_bytes(store)
    async with asyncio.timeout(AGAIN_SECONDS):
        while await told.direct_bytes(store) - before < MIB:
            image = await told.add(store, DATA[:MIB])
            assert await told.ask(image, token=told.token()).body() == DATA[:MIB]


@asynccontextmanager
async def away(store: Store, directory: Path) -> AsyncIterator[tuple[Gate, Forwarder, Path]]:
    """Put a piece of network before a store, and a gate behind it, for who reads a file of stores."""
    async with gate(store.url) as between, forwarding(between.url) as network:
        file = directory / "stores.conf"
        file.write_text(store.by_way_of(network.url).section())
        yield between, network, file
        between.open()
