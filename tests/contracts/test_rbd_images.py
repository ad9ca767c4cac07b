"""What the RBD driver does with images that others use, and with room and names of its own."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from backends.errors import (
    DeniedError,
    DuplicateError,
    InUseError,
    MissingError,
    UnavailableError,
)
from backends.location import Location
from backends.spans import Span
from contracts.rbd import left_in, location_of, opened, options_of
from contracts.subject import PIECE, pattern, read, write
from harness.ceph import Ceph

if TYPE_CHECKING:
    from backends.rbd.store import RbdStore

MIB = 1 << 20


@pytest.fixture
async def store(ceph: Ceph) -> AsyncIterator[RbdStore]:
    async with opened(options_of(ceph)) as store:
        yield store
        assert await left_in(store) == set()


async def rbd(ceph: Ceph, *arguments: str) -> str:
    return await asyncio.to_thread(ceph.tool, "rbd", *arguments)


async def snapshots(ceph: Ceph, name: str) -> list[tuple[str, str]]:
    """Return the names of an image's snapshots, and whether they are protected."""
    shown = json.loads(await rbd(ceph, "snap", "ls", "--format=json", f"{ceph.pool}/{name}"))
    return [(each["name"], each["protected"]) for each in shown]


async def used_bytes(ceph: Ceph, name: str) -> int:
    """Return how much of an image has data of its own."""
    runs = json.loads(await rbd(ceph, "diff", "--format=json", f"{ceph.pool}/{name}@snap"))
    return sum(int(run["length"]) for run in runs if run["exists"] in (True, "true"))


async def test_an_image_that_has_a_clone(ceph: Ceph, store: RbdStore) -> None:
    content = pattern(2 * PIECE)
    location = await write(store, "image", content)
    pool = ceph.pool
    await rbd(ceph, "clone", f"{pool}/image@snap", f"{pool}/disk", "--rbd-default-clone-format=1")
    for attempt in (store.require_unused, store.delete):
        with pytest.raises(InUseError):
            await attempt(location)
        assert await snapshots(ceph, "image") == [("snap", "true")]
    assert await read(store, location) == content
    assert await read(store, Location("rbd://disk"), Span(1, PIECE)) == content[1:PIECE]
    await rbd(ceph, "rm", f"{pool}/disk")
    await store.require_unused(location)
    await store.delete(location)


async def test_an_image_that_has_clones_of_both_formats(ceph: Ceph, store: RbdStore) -> None:
    location = await write(store, "image", pattern(PIECE))
    pool = ceph.pool
    for name in ("2", "1"):
        which = f"--rbd-default-clone-format={name}"
        await rbd(ceph, "clone", f"{pool}/image@snap", f"{pool}/{name}", which)
    for attempt in (store.require_unused, store.delete):
        with pytest.raises(InUseError):
            await attempt(location)
    await rbd(ceph, "rm", f"{pool}/1")
    await store.require_unused(location)
    await rbd(ceph, "rm", f"{pool}/2")
    await store.delete(location)


async def test_an_image_with_a_clone_of_the_second_format(ceph: Ceph, store: RbdStore) -> None:
    """Such clones keep what they need by themselves: the image goes to the trash, as Glance does."""
    content = pattern(2 * PIECE)
    location = await write(store, "image", content)
    pool = ceph.pool
    await rbd(ceph, "clone", f"{pool}/image@snap", f"{pool}/disk", "--rbd-default-clone-format=2")
    await store.require_unused(location)
    await store.delete(location)
    with pytest.raises(MissingError):
        await store.stat(location)
    assert await read(store, Location("rbd://disk")) == content
    assert await write(store, "image", b"another") == location
    await store.delete(location)
    await rbd(ceph, "rm", f"{pool}/disk")
    await rbd(ceph, "trash", "purge", pool)


async def test_snapshots_of_others(ceph: Ceph, store: RbdStore) -> None:
    location = await write(store, "image", pattern(PIECE))
    await rbd(ceph, "snap", "create", f"{ceph.pool}/image@theirs")
    await store.delete(location)
    with pytest.raises(MissingError):
        await store.stat(location)
    identity = (await rbd(ceph, "trash", "ls", ceph.pool)).split()[0]
    await rbd(ceph, "trash", "restore", f"{ceph.pool}/{identity}")
    assert await snapshots(ceph, "image") == [("theirs", "false")]
    assert await read(store, Location("rbd://image")) == pattern(PIECE)
    await rbd(ceph, "snap", "purge", f"{ceph.pool}/image")
    await store.delete(Location("rbd://image"))


async def test_an_image_that_somebody_writes_to(ceph: Ceph, store: RbdStore) -> None:
    location = await write(store, "image", pattern(PIECE))
    async with store._cluster.visit("their image") as theirs:
        pool = theirs.pool(ceph.pool)
        rbd_library = __import__("rbd")
        image = await asyncio.to_thread(rbd_library.Image, pool, "image")
        theirs.opened.callback(image.close)
        for attempt in (store.require_unused, store.delete):
            with pytest.raises(InUseError):
                await attempt(location)
        with pytest.raises(InUseError):
            await store.clear("image")
        assert await snapshots(ceph, "image") == [("snap", "true")]
    await store.delete(location)


async def test_a_half_made_image_of_glance_is_deleted(ceph: Ceph, store: RbdStore) -> None:
    await rbd(ceph, "create", "--size=1", f"{ceph.pool}/image")
    location = location_of(ceph, "image")
    with pytest.raises(MissingError):
        await store.stat(location)
    with pytest.raises(DuplicateError):
        await write(store, "image", b"x")
    await store.require_unused(location)
    await store.delete(location)


async def test_another_cluster(ceph: Ceph, store: RbdStore) -> None:
    location = await write(store, "image", b"x")
    foreign = Location(location.uri.replace(ceph.fsid, "0" * 36))
    for attempt in (
        *(store.stat(foreign), store.delete(foreign), read(store, foreign)),
        store.require_unused(foreign),
    ):
        with pytest.raises(DeniedError, match="another cluster"):
            await attempt
    await store.delete(location)


async def test_a_pool_that_is_not_there(ceph: Ceph) -> None:
    async with opened(options_of(ceph, pool="absent")) as store:
        with pytest.raises(MissingError):
            await write(store, "image", b"x")
        with pytest.raises(MissingError):
            await store.stat(Location("rbd://image"))


@pytest.mark.parametrize("known", [True, False])
async def test_zeros_take_no_room(ceph: Ceph, known: bool) -> None:
    block = 64 << 10
    content = b"".join(
        [pattern(block), bytes(3 * block), pattern(block), bytes(6 * MIB + 1), pattern(7)]
    )
    async with opened(options_of(ceph, chunk_bytes=MIB, thin=True)) as thin:
        async with thin.create("image", len(content) if known else None) as writer:
            for start in range(0, len(content), 100_000):
                await writer.write(content[start : start + 100_000])
            location = (await writer.commit()).location
        # In memory Ceph keeps each object up to its last byte.
        assert await used_bytes(ceph, "image") == 2 * 5 * block + 8
        assert (await thin.stat(location)).size == len(content)
        assert await read(thin, location) == content
        await thin.delete(location)
        assert await left_in(thin) == set()


async def test_nothing_but_zeros(ceph: Ceph) -> None:
    async with opened(options_of(ceph, chunk_bytes=MIB, thin=True)) as thin:
        location = await write(thin, "image", bytes(3 * MIB + 1))
        assert await used_bytes(ceph, "image") == 0
        assert await read(thin, location) == bytes(3 * MIB + 1)
        await thin.delete(location)


async def test_a_read_of_what_was_removed_gives_no_zeros(ceph: Ceph) -> None:
    """To librbd an object that was removed is a hole."""
    content = pattern(64 * PIECE)
    async with opened(options_of(ceph, read_ahead_bytes=2 * PIECE)) as store:
        location = await write(store, "image", content)
        received = b""

        async def reading() -> None:
            nonlocal received
            async with store.read(location) as stream:
                async for piece in stream:
                    if not received:
                        await store.delete(location)
                    received += piece

        with pytest.raises(MissingError):
            await reading()
        assert content.startswith(received)
        assert len(received) < len(content)
        assert await left_in(store) == set()


async def test_a_clone_that_is_read_when_it_is_removed(ceph: Ceph) -> None:
    """Behind what a clone had, its parent shows."""
    async with opened(options_of(ceph, read_ahead_bytes=PIECE)) as store:
        parent = await write(store, "parent", pattern(8 * PIECE, 1))
        await rbd(ceph, "clone", f"{ceph.pool}/parent@snap", f"{ceph.pool}/clone")
        await rbd(ceph, "snap", "create", f"{ceph.pool}/clone@snap")
        await rbd(ceph, "snap", "protect", f"{ceph.pool}/clone@snap")
        clone = location_of(ceph, "clone")
        received = b""

        async def reading() -> None:
            nonlocal received
            async with store.read(clone) as stream:
                async for piece in stream:
                    if not received:
                        await store.delete(clone)
                    received += piece

        with pytest.raises(MissingError):
            await reading()
        assert pattern(8 * PIECE, 1).startswith(received)
        await store.delete(parent)


async def test_an_images_version(store: RbdStore) -> None:
    """Another image of the same name is told from the first."""
    versions = []
    for content in (b"one", b"two"):
        location = await write(store, "image", content)
        for _ in range(2):
            async with store.read(location) as stream:
                versions.append(stream.version)
        await store.delete(location)
    assert versions[0] == versions[1] != versions[2] == versions[3]
    assert None not in versions


async def test_what_is_read_ahead_is_bounded(ceph: Ceph) -> None:
    """All reads together have no more ahead than is allowed, and one piece each."""
    content = pattern(32 * PIECE)
    changed = {"read_ahead_bytes": 8 * PIECE, "reads_ahead_bytes": 10 * PIECE}
    async with opened(options_of(ceph, **changed)) as store:
        location = await write(store, "image", content)
        async with (
            store.read(location) as first,
            store.read(location) as second,
            store.read(location) as third,
        ):
            streams = [aiter(stream) for stream in (first, second, third)]
            got = [[await anext(stream)] for stream in streams]
            assert [len(stream._pieces) for stream in (first, second, third)] == [7, 2, 0]
            for stream, pieces in zip(streams, got, strict=True):
                pieces += [piece async for piece in stream]
            assert [b"".join(pieces) for pieces in got] == 3 * [content]
        async with store.read(location) as left:
            await anext(aiter(left))
        assert store._allowance.take(10 * PIECE)
        await store.delete(location)


async def test_an_image_that_others_replaced(ceph: Ceph, store: RbdStore) -> None:
    """An image that is kept open is looked at before it is read again."""
    async with opened(options_of(ceph)) as other:
        for number in range(3):
            location = await write(other, "image", pattern(2 * PIECE, number))
            for span in (None, Span(0, 0), Span(1, PIECE)):
                whole = pattern(2 * PIECE, number)
                expected = whole if span is None else whole[span.start : span.stop]
                assert await read(store, location, span) == expected
            await other.delete(location)
            with pytest.raises(MissingError):
                await store.stat(location)


async def test_more_images_than_stay_open(store: RbdStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.rbd.images.KEPT_MAX", 2)
    locations = [
        await write(store, f"image-{number}", pattern(PIECE, number)) for number in range(6)
    ]
    async with store.read(locations[0]) as stream:
        for _ in range(2):
            reads = (read(store, location) for location in locations)
            assert await asyncio.gather(*reads) == [pattern(PIECE, number) for number in range(6)]
            assert len(store._images._kept) == 2
        assert b"".join([piece async for piece in stream]) == pattern(PIECE)
    kept = list(store._images._kept.values())
    assert [image.users for image in kept] == [1, 1]
    for location in locations:
        await store.delete(location)
    assert [image.users for image in kept] == [0, 0]


async def test_what_died_in_the_midst_is_removed(
    ceph: Ceph, store: RbdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But neither what somebody writes, nor what is young, nor what is called otherwise."""
    left, other = f".image.{'0' * 16}.part", ".image.part"
    for name in (left, other):
        await rbd(ceph, "create", "--size=1", f"{ceph.pool}/{name}")
        await rbd(ceph, "snap", "create", f"{ceph.pool}/{name}@snap")
        await rbd(ceph, "snap", "protect", f"{ceph.pool}/{name}@snap")
    async with store.create("one") as writer:
        await writer.write(b"x")
        assert await searched(store) == 3
        monkeypatch.setattr("backends.rbd.leftovers.AGE_SECONDS", -3600.0)
        assert await searched(store) == 2
        assert other in await rbd(ceph, "ls", ceph.pool)
        await store.delete((await writer.commit()).location)
    await store.delete(location_of(ceph, other))


async def searched(store: RbdStore) -> int:
    """Let what is left be searched for, and return how many images there are after that."""
    store._leftovers._next = 0.0
    store._leftovers.look()
    assert store._leftovers._search is not None
    await store._leftovers._search
    async with store._cluster.visit("the pool") as visit:
        pool = visit.pool(store._options.pool)
        listed = await asyncio.to_thread(__import__("rbd").RBD().list, pool)
    return len(listed)


async def test_left_in_the_midst_of_writes(store: RbdStore) -> None:
    """Librbd must not close an image whose writes go on: one time in five it would hang."""
    for _ in range(20):
        async with store.create("image") as writer:
            await writer.write(pattern(3 * PIECE))
            assert writer._writes
    assert await left_in(store) == set()


async def test_an_upload_that_cannot_begin_removes_nothing_of_others(
    ceph: Ceph, store: RbdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else publishes an image of that name just before Ceph fails us."""

    def fail(_: object) -> int:
        ceph.tool("rbd", "create", "--size=1", f"{ceph.pool}/image")
        raise __import__("rados").TimedOut("out of time", errno=110)

    monkeypatch.setattr("backends.rbd.newimage.NewImage._features", fail)
    with pytest.raises(UnavailableError):
        await write(store, "image", b"x")
    assert (await rbd(ceph, "ls", ceph.pool)).split() == ["image"]
    await store.delete(location_of(ceph, "image"))


async def test_who_comes_while_it_is_deleted(
    ceph: Ceph, store: RbdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot is gone, and then somebody has the image open: it is as it was before."""
    library = __import__("rbd")
    content = pattern(PIECE)
    location = await write(store, "image", content)
    held: list[Any] = []
    removal = "backends.rbd.removal._remove_image"

    def busy(pool: Any, name: str, beat: Any) -> None:
        held.append(library.Image(pool, name))
        undone(pool, name, beat)

    undone = importlib.import_module("backends.rbd.removal")._remove_image
    with monkeypatch.context() as patched:
        patched.setattr(removal, busy)
        with pytest.raises(InUseError):
            await store.delete(location)
    await asyncio.to_thread(held.pop().close)
    assert await snapshots(ceph, "image") == [("snap", "true")]
    assert await read(store, location) == content
    await store.delete(location)
