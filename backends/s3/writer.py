"""Writing an object to S3: in one request where it fits in a part, else in parallel parts.

The object appears with the last request, whole.  Requests that make something on the server are
outlasted by a cancelled caller: what they made is known then, and taken back.
"""

from __future__ import annotations

import asyncio

from backends.base import Writer, WriteResult
from backends.errors import DuplicateError, InvalidError
from backends.outlasting import finished
from backends.s3.body import Pieces, S3Body
from backends.s3.errors import translated
from backends.s3.object import OUTLAST_SECONDS, S3Object
from backends.s3.parts import PartPlan
from backends.tally import Tally


class S3Writer(Writer):
    """An object in the making.  `close` takes back what was not kept.

    `turn` is held while an object of that name is published: not every server refuses a second
    one by itself.
    """

    def __init__(self, target: S3Object, plan: PartPlan, turn: asyncio.Lock) -> None:
        self._target = target
        self._plan = plan
        self._turn = turn
        self._tally = Tally(str(target.location), plan.size)
        self._pieces = Pieces()  # of the part that is being filled
        self._number = 1  # its number
        self._taken = 0  # bytes, into this and earlier parts
        self._sending: dict[asyncio.Task[None], S3Body] = {}
        self._tried = False  # to publish it
        self._published = False
        self._kept = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes; waits while as many parts are on their way as may be."""
        view = memoryview(data).cast("B")
        self._tally.add(view.nbytes)
        while view.nbytes:
            room = self._plan.part_bytes(self._number) - self._pieces.size
            if room:
                self._pieces.add(view[:room])
                self._taken += len(view[:room])
                view = view[room:]
            else:
                await self._send_part()

    async def publish(self) -> WriteResult:
        """Give the object its name."""
        self._tally.finish()
        if self._taken != self._tally.written:
            raise InvalidError(f"{self._target.location}: some of it could not be written")
        if self._target.has_parts:
            await self._send_part()
            while self._sending:
                await self._arrival()
        with translated(self._target.location):
            await finished(self._publish(), OUTLAST_SECONDS)
        return WriteResult(self._target.location, self._tally.written)

    def keep(self) -> None:
        """Let the object stay."""
        self._kept = True

    async def close(self) -> None:
        """Leave nothing on the server, unless it was kept."""
        if not self._kept:
            with translated(self._target.location):
                await finished(self._take_back(), OUTLAST_SECONDS)

    async def _send_part(self) -> None:
        """Begin to send the part that was filled, when there is room."""
        if not self._target.has_parts:
            with translated(self._target.location):
                await finished(self._target.begin_parts(), OUTLAST_SECONDS)
        while not self._plan.may_begin(self._number, len(self._sending), self._bytes_sending):
            await self._arrival()
        body = self._pieces.body()
        task = asyncio.create_task(self._target.put_part(self._number, body))
        self._sending[task] = body
        self._pieces = Pieces()
        self._number += 1

    @property
    def _bytes_sending(self) -> int:
        return sum(body.length for body in self._sending.values())

    async def _arrival(self) -> None:
        """Wait for a part on its way; raise what befell it."""
        done, _ = await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        for task in done:
            del self._sending[task]

    async def _publish(self) -> None:
        async with self._turn:
            if await self._target.exists():
                raise DuplicateError(f"{self._target.location}: is there already")
            self._tried = True
            if self._target.has_parts:
                await self._target.complete()
            else:
                await self._target.put(self._pieces.body())
            self._published = True

    async def _take_back(self) -> None:
        target = self._target
        for task, body in self._sending.items():
            if not body.is_sent:  # else the part may be made after all: better to know
                task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if target.has_parts and not self._published:
            await target.abort_parts()
        if self._tried and await target.is_there():  # else what has the name is another's
            await target.delete()
