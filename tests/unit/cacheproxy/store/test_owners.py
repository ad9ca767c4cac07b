"""Chunks are charged to the project whose fill stored them first."""

from __future__ import annotations

from pathlib import Path

import pytest

from cacheproxy.store.layout import NOBODY, Table
from harness.store_case import CHUNK, StoreCase, chunk, opened


async def put(case: StoreCase, seed: int, owner: str | None) -> bytes:
    reservation = await case.store.reserve(CHUNK, owner)
    try:
        stored = await case.store.put(chunk(seed), reservation=reservation)
    finally:
        reservation.close()
    return stored.digest


def charged(case: StoreCase) -> list[tuple[int, int]]:
    """Return how many chunks each owner is charged for."""
    owners = case.store._entries.census.owners
    return sorted((owner, sum_.chunks) for owner, sum_ in owners.items())


async def test_whose_fill_stored_a_chunk_first_is_charged(case: StoreCase) -> None:
    shared = await put(case, 1, "a")
    await put(case, 2, "a")
    assert await put(case, 1, "b") == shared
    await put(case, 3, "b")
    await put(case, 4, None)
    assert charged(case) == [(1, 2), (2, 1)]
    entry = case.store._entries.get(shared)
    assert entry is not None
    assert entry.owner == 1
    await case.store.drop([shared])
    assert charged(case) == [(1, 1), (2, 1)]
    await put(case, 1, "b")
    assert charged(case) == [(1, 1), (2, 2)]


async def test_numbers_survive_restarts(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        await put(case, 1, "a")
        digest = await put(case, 2, "b")
        number = case.store._owners.number("b")
    async with opened(tmp_path) as case:
        await case.reconciled()
        assert case.store._owners.number("b") == number
        assert case.store._owners.number("c") > number
        entry = case.store._entries.get(digest)
        assert entry is not None
        assert entry.owner == number
        await case.check()


@pytest.mark.parametrize("project", [None, "", "x" * 481])
async def test_some_have_no_number(case: StoreCase, project: str | None) -> None:
    assert case.store._owners.number(project) == NOBODY
    await put(case, 1, project)
    assert charged(case) == []


async def test_a_crash_loses_no_number_that_a_chunk_has(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        digest = await put(case, 1, "a")
        await case.store.sync()
        await case.crash()
    async with opened(tmp_path) as case:
        await case.reconciled()
        entry = case.store._entries.get(digest)
        assert entry is not None
        assert entry.owner == case.store._owners.number("a") == 1
        assert case.store._owners.number("b") == 2
        await case.check()


async def test_a_project_without_chunks_is_forgotten_at_the_next_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as case:
        gone = await put(case, 1, "a")
        await put(case, 2, "b")
        await case.store.drop([gone])
        assert case.store._owners.number("a") == 1
    for _ in range(2):
        async with opened(tmp_path) as case:
            await case.reconciled()
            assert case.store._writer.names(Table.PROJECTS, b"") == {b"b"}
            assert case.store._owners.number("b") == 2
            await case.check()
