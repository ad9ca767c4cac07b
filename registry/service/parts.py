"""The parts of uploads that may be continued: objects of their own in the store of the image.

Each is noted before it is begun, under a name that nobody else has.  A body that breaks off leaves
all that had come; a process that dies, all but its last part.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace

from backends.location import Location
from registry.db.database import Connection, Database
from registry.db.parts import (
    PartRow,
    add_part,
    complete_part,
    forget_part,
    forget_parts,
    get_parts,
)
from registry.db.uploads import UploadRow
from registry.domain.errors import InvalidRequestError, LeaseLostError, UploadCutError
from registry.domain.limits import Limits
from registry.service.discards import Discards
from registry.service.stores import NamedStore, Stores, translated

PART_BYTES = 128 << 20  # a process that dies loses at most so much


class UploadParts:
    """Stores parts, reads them, and takes them away."""

    def __init__(
        self,
        database: Database,
        stores: Stores,
        limits: Limits,
        discards: Discards,
        lease_seconds: int,
    ) -> None:
        self._database = database
        self._stores = stores
        self._limits = limits
        self._discards = discards
        self._lease_seconds = lease_seconds

    async def store(self, row: UploadRow, offset: int, body: AsyncIterator[bytes]) -> int:
        """Store a body from a byte on, for whoever holds the upload; return where it ended."""
        pieces = aiter(body)
        while piece := await anext(pieces, b""):
            part = PartRow(f"{row.image_id}.{secrets.token_hex(8)}", offset)
            if not await self._database.change(add_part, row, part, self._lease_seconds):
                raise lost(row)
            offset = await self._store_one(row, part, piece, pieces)
        return offset

    async def _store_one(
        self, row: UploadRow, part: PartRow, piece: bytes, pieces: AsyncIterator[bytes]
    ) -> int:
        """Store a piece and those behind it; also what came before the body broke off."""
        target = self._stores.called(row.store)
        cut: BaseException | None = None
        end = part.start
        with translated():
            async with target.store.create(part.name) as writer:
                while piece:
                    end += len(piece)
                    self._limits.require_size(end)
                    if row.length is not None and end > row.length:
                        raise InvalidRequestError(f"More than the announced {row.length} bytes.")
                    await writer.write(piece)
                    if end - part.start >= PART_BYTES:
                        break
                    try:
                        piece = await anext(pieces, b"")
                    except (UploadCutError, asyncio.CancelledError) as error:
                        cut = error
                        break
                result = await writer.commit()
        done = replace(part, size=result.size, url=result.location.uri)
        if not await self._database.change(complete_part, row, done, self._lease_seconds):
            await self._stores.clear(target.name, part.name)  # nobody else has this name
            raise lost(row)
        if cut is not None:
            raise cut
        return end

    async def read(self, target: NamedStore, parts: Sequence[PartRow]) -> AsyncGenerator[bytes]:
        """Read all that there is, in its order."""
        for part in parts:
            if part.url is None:
                continue
            with translated():
                async with target.store.read(Location(part.url)) as stream:
                    async for piece in stream:
                        yield piece

    async def clear_incomplete(self, row: UploadRow) -> None:
        """Take away what was begun by somebody who died, or lost the upload."""
        for part in await self._database.query(get_parts, row.image_id):
            if part.url is None:
                await self._stores.clear(row.store, part.name)
                await self._database.change(forget_part, part.name)

    async def forget(self, connection: Connection, row: UploadRow) -> None:
        """Forget all parts of an upload, and owe their deletion."""
        parts = await forget_parts(connection, row.image_id)
        target = self._stores.called(row.store)
        urls = [part.url for part in parts if part.url is not None]
        places = [self._stores.placed(Location(url), target, {}) for url in urls]
        await self._discards.owe(connection, row.image_id, places)


def size_of(parts: Sequence[PartRow]) -> int:
    """Return how many bytes are there."""
    return sum(part.size for part in parts if part.size is not None)


def lost(row: UploadRow) -> LeaseLostError:
    """Return what to raise where an upload is held by somebody else."""
    return LeaseLostError(f"The upload of image {row.image_id} is another's now.")
