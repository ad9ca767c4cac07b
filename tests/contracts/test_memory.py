from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest

from backends.errors import InvalidError, NoSpaceError
from backends.location import Location
from backends.memory import MemoryStore
from backends.options import MemoryOptions
from contracts.store import PruneContract
from contracts.subject import PIECE, Subject, read, write


def memory_subject(store: MemoryStore) -> Subject:
    async def leftovers() -> set[str]:
        assert bool(store.used_bytes) <= bool(store.names), "bytes of nothing are counted"
        return set(store.names)

    return Subject(store, partial(write, store), leftovers, Location("memory:///absent"))


class TestMemory(PruneContract):
    @pytest.fixture
    async def subject(self) -> AsyncIterator[Subject]:
        store = MemoryStore(MemoryOptions(piece_bytes=PIECE))
        yield memory_subject(store)
        await store.aclose()


async def test_full() -> None:
    store = MemoryStore(MemoryOptions(capacity_bytes=10))
    location = await write(store, "image", b"x" * 6)
    async with store.create("other") as writer:
        await writer.write(b"y" * 4)
        with pytest.raises(NoSpaceError):
            await writer.write(b"y")
        with pytest.raises(InvalidError):
            await writer.commit()
    assert store.names == {"image"}
    assert store.used_bytes == 6
    await write(store, "other", b"y" * 4)
    assert await read(store, location) == b"x" * 6
    assert repr(store) == "MemoryStore(2 objects)"
