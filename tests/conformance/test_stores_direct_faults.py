"""The proxy reads the stores of a real Glance, and one of them, or Glance, fails in the midst.

The proxy alone reaches the store over a piece of network that is cut or falls silent, Glance without
it.  An OSD is halted, and Glance waits for it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.ceph import Ceph
from harness.forwarder import Forwarder, forwarding
from harness.gate import Gate, gate
from harness.glance import Glance
from harness.keystone import STRANGER, Keystone
from harness.store_reader import DATA, MIB, SIZE, StoreReader, store_reader
from harness.stores import Store

CUT = MIB + (MIB >> 1)  # of one connection; a driver may have several
STALL_SECONDS = 5.0  # of who is to notice a silence; others have all the time that they need
AGAIN_SECONDS = 60.0  # until a store that came back is tried
SLOW = "rbd_qos_read_bps_limit = 2097152\n"  # so that it lasts until its OSD halts


@pytest.mark.parametrize("stored_glance", ["swift", "segments", "s3", "gateway"], indirect=True)
async def test_a_store_that_dies_in_the_midst(
    stored_glance: tuple[Glance, Store], keystone: Keystone, tmp_path: Path
) -> None:
    """Its connections are reset, and others refused: the rest comes from Glance, and nobody notices."""
    glance, store = stored_glance
    async with (
        away(store, tmp_path) as (between, network, other),
        store_reader(tmp_path, glance, keystone, other) as told,
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
        store_reader(tmp_path, glance, keystone, other, stall_seconds=STALL_SECONDS) as told,
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
    async with store_reader(tmp_path, glance, keystone, other, stall_seconds=STALL_SECONDS) as told:
        image = await told.add(store)
        reader = told.ask(image, token=told.token())
        await reader.received(1)
        with ceph.paused(ceph.osd):
            await told.until_failed(store)
        assert await reader.body() == DATA
        assert await told.upstream_bytes() > 0
        await read_directly_again(told, store)


@pytest.mark.parametrize("stored_glance", ["swift", "segments", "s3", "gateway"], indirect=True)
async def test_glance_goes_away_in_the_midst(
    stored_glance: tuple[Glance, Store], keystone: Keystone, tmp_path: Path
) -> None:
    """Whoever was let in reads on; nobody else is until it is back."""
    glance, store = stored_glance
    async with (
        away(store, tmp_path) as (between, _, other),
        forwarding(glance.url) as network,
        store_reader(tmp_path, glance, keystone, other, upstream=network.url) as told,
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


async def read_directly_again(told: StoreReader, store: Store) -> None:
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
