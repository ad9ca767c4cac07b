"""What a contract is tested with: a store under test, its content, and the ways around it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from backends.base import ReadStore, WriteStore
from backends.location import Location
from backends.spans import Span

PIECE = 4096  # where the driver allows, its reads come in pieces of so many bytes


def pattern(size: int, seed: int = 0) -> bytes:
    """Return bytes that differ from place to place."""
    return random.Random(seed).randbytes(size)


@dataclass
class Subject:
    """A store under test, and the ways around it.

    `put` makes an object of that name, `leftovers` lists everything that is physically there,
    finished or not.
    """

    store: ReadStore
    put: Callable[[str, bytes], Awaitable[Location]]
    leftovers: Callable[[], Awaitable[set[str]]]
    missing: Location
    tells_size: bool = True
    secrets: tuple[str, ...] = ()
    put_locations: list[Location] = field(default_factory=list)

    async def place(self, content: bytes, name: str = "image") -> Location:
        location = await self.put(name, content)
        self.put_locations.append(location)
        return location


async def write(store: WriteStore, name: str, content: bytes) -> Location:
    async with store.create(name, len(content)) as writer:
        await writer.write(content)
        return (await writer.commit()).location


async def read(store: ReadStore, location: Location, span: Span | None = None) -> bytes:
    async with store.read(location, span) as stream:
        pieces = [piece async for piece in stream]
    assert all(pieces), "an empty piece"
    return b"".join(pieces)


def borders(size: int) -> list[int]:
    """Return the positions where a driver may be off by one, some of them beyond the end."""
    around = {center + step for center in (0, PIECE, 2 * PIECE, size) for step in (-1, 0, 1)}
    return sorted(position for position in around if position >= 0)
