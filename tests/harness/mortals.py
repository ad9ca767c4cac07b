"""Clients of a catalog that upload, download, delete, and die in the middle of it, at random."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from harness.waiting import passing

OCTETS = {"Content-Type": "application/octet-stream"}
FORMATS = {"disk_format": "raw", "container_format": "bare"}
PIECE_BYTES = 16 << 10
SMALL_BYTES_MAX = 256 << 10
LARGE_BYTES = 6 << 20  # more than a part
LARGE_SHARE = 0.02  # of all images
BROKEN_SECONDS_MAX = 1.0  # before whoever found nobody tries something else
ROUND_SECONDS = 120.0  # of one client's round: then it hangs, which is a fault
PATTERN = random.Random(7).randbytes(LARGE_BYTES + 4096)


def data_of(seed: int, size: int) -> bytes:
    """Return the bytes of an image, which tell images apart."""
    return PATTERN[seed % 4096 :][:size]


class Mortals:
    """`count` clients; `uploaded` are the images whose upload was acknowledged, with their SHA-512."""

    def __init__(self, url: str, count: int, seed: int) -> None:
        self._url = url
        self._parts = urlsplit(url)
        self._count = count
        self._seed = seed
        self.uploaded: dict[str, tuple[int, str]] = {}
        self.deleted: set[str] = set()
        self.doubtful: set[str] = set()  # nobody knows whether the deletion was done
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []

    @property
    def answered(self) -> int:
        """How many deeds were not broken off by the catalog's death, and needed it."""
        ends = ("broken", "nothing there")
        return sum(times for outcome, times in self.outcomes.items() if not outcome.endswith(ends))

    async def live(self, rounds: int) -> None:
        """Let all of them do so many things each."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self._url, connector=connector) as session:
            await asyncio.gather(
                *(self._one(session, number, rounds) for number in range(self._count))
            )

    async def _one(self, session: aiohttp.ClientSession, number: int, rounds: int) -> None:
        chance = random.Random(self._seed * 10_000 + number)
        deeds: list[Callable[[aiohttp.ClientSession, random.Random], Awaitable[str]]] = [
            *(self._upload, self._upload, self._die_uploading, self._die_uploading),
            *(self._download, self._die_downloading, self._delete, self._delete_meanwhile),
        ]
        for _ in range(rounds):
            deed = chance.choice(deeds)
            name = deed.__name__.strip("_")
            try:
                async with asyncio.timeout(ROUND_SECONDS):
                    outcome = await deed(session, chance)
            except TimeoutError:
                self.faults.append(f"{name} hangs")
            except (aiohttp.ClientError, OSError, EOFError):
                self.outcomes[f"{name}: broken"] += 1
                await passing(chance.uniform(0, BROKEN_SECONDS_MAX))
            else:
                self.outcomes[f"{name}: {outcome}"] += 1

    # --- deeds ------------------------------------------------------------------------------------

    async def _upload(self, session: aiohttp.ClientSession, chance: random.Random) -> str:
        image = await self._create(session)
        data = self._data(chance)
        body = BytesIO(data) if chance.random() < 0.5 else _pieces(data)
        return await self._send(session, image, data, body)

    async def _send(
        self, session: aiohttp.ClientSession, image: str, data: bytes, body: Any
    ) -> str:
        async with session.put(f"/v2/images/{image}/file", data=body, headers=OCTETS) as answer:
            await answer.read()
            if answer.status == 204:
                self.uploaded[image] = len(data), hashlib.sha512(data).hexdigest()
            return str(answer.status)

    async def _die_uploading(self, session: aiohttp.ClientSession, chance: random.Random) -> str:
        image = await self._create(session)
        data = self._data(chance)
        lines = ["Content-Type: application/octet-stream"]
        is_sized = chance.random() < 0.5
        lines.append(
            f"Content-Length: {len(data) + 1}" if is_sized else "Transfer-Encoding: chunked"
        )
        async with self._connected(f"PUT /v2/images/{image}/file", lines, chance) as (_, writer):
            for start in range(0, chance.randint(0, len(data)), PIECE_BYTES):
                piece = data[start : start + PIECE_BYTES]
                writer.write(piece if is_sized else b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
        return "died"

    async def _download(self, session: aiohttp.ClientSession, chance: random.Random) -> str:
        image = self._some(chance)
        if image is None:
            return "nothing there"
        async with session.get(f"/v2/images/{image}/file") as answer:
            found = hashlib.sha512(await answer.read()).hexdigest()
            if answer.status == 200 and found != self.uploaded[image][1]:
                self.faults.append(f"{image} has other bytes")
            if answer.status not in {200, 503} and image not in self.deleted | self.doubtful:
                self.faults.append(f"{image}: {answer.status}")
            return str(answer.status)

    async def _die_downloading(self, _: aiohttp.ClientSession, chance: random.Random) -> str:
        image = self._some(chance)
        if image is None:
            return "nothing there"
        async with self._connected(f"GET /v2/images/{image}/file", [], chance) as (reader, _writer):
            await reader.read(chance.randint(0, SMALL_BYTES_MAX))
        return "died"

    async def _delete(self, session: aiohttp.ClientSession, chance: random.Random) -> str:
        image = self._some(chance)
        if image is None:
            return "nothing there"
        return await self._remove(session, image)

    async def _delete_meanwhile(self, session: aiohttp.ClientSession, chance: random.Random) -> str:
        image = await self._create(session)
        data = self._data(chance)
        reached = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield data[: len(data) // 2]
            await asyncio.sleep(0)
            reached.set()
            yield data[len(data) // 2 :]

        sending = asyncio.create_task(self._send(session, image, data, body()))
        try:
            waiting = asyncio.create_task(reached.wait())
            await asyncio.wait({waiting, sending}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            removed = await self._remove(session, image)
            return f"{await sending} and {removed}"
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    # --- their means ------------------------------------------------------------------------------

    async def _create(self, session: aiohttp.ClientSession) -> str:
        async with session.post("/v2/images", json=FORMATS) as answer:
            document = await answer.json()
            if answer.status != 201:
                raise aiohttp.ClientPayloadError(str(answer.status))
            return str(document["id"])

    async def _remove(self, session: aiohttp.ClientSession, image: str) -> str:
        self.doubtful.add(image)
        async with session.delete(f"/v2/images/{image}") as answer:
            await answer.read()
            if answer.status == 204:
                self.deleted.add(image)
            if answer.status < 500:
                self.doubtful.discard(image)
            return str(answer.status)

    def _some(self, chance: random.Random) -> str | None:
        there = [image for image in self.uploaded if image not in self.deleted | self.doubtful]
        return chance.choice(there) if there else None

    @staticmethod
    def _data(chance: random.Random) -> bytes:
        is_large = chance.random() < LARGE_SHARE
        size = LARGE_BYTES if is_large else chance.randint(0, SMALL_BYTES_MAX)
        return data_of(chance.getrandbits(20), size)

    @asynccontextmanager
    async def _connected(
        self, line: str, lines: list[str], chance: random.Random
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Send a request's head; in the end the connection is closed, or reset."""
        port = self._parts.port
        reader, writer = await asyncio.open_connection(self._parts.hostname, port)
        try:
            head = [f"{line} HTTP/1.1", "Host: x", *lines, "", ""]
            writer.write("\r\n".join(head).encode())
            await writer.drain()
            yield reader, writer
        finally:
            if chance.random() < 0.5:
                writer.transport.abort()
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
