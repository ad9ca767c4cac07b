"""The body of an upload: which bytes are kept, and that they are sent as they were given."""

from __future__ import annotations

import hashlib

from aiohttp.abc import AbstractStreamWriter

from backends.s3.body import SLICE_BYTES, Pieces

LARGE = bytes(range(256)) * 1024


class Sent(AbstractStreamWriter):
    """What a connection was given."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(chunk))

    async def write_eof(self, chunk: bytes = b"") -> None: ...
    async def drain(self) -> None: ...
    def enable_compression(self, *_: object, **__: object) -> None: ...
    def enable_chunking(self) -> None: ...
    async def write_headers(self, *_: object, **__: object) -> None: ...


async def test_bytes_of_all_kinds() -> None:
    changing = bytearray(LARGE)
    pieces = Pieces()
    for data in (b"small", LARGE, changing, memoryview(LARGE)[10:], b"x", b"", LARGE[:-1]):
        pieces.add(memoryview(data))
    expected = b"small" + LARGE + LARGE + LARGE[10:] + b"x" + LARGE[:-1]
    changing[:] = bytes(len(changing))
    assert pieces.size == len(expected)
    body = pieces.body()
    assert body.length == body.size == len(expected)
    assert body.read() == expected
    await body.compute_digest()
    assert body.sha256 == hashlib.sha256(expected).hexdigest()
    for _ in range(2):
        sent = Sent()
        await body.write(sent)
        assert b"".join(sent.pieces) == expected
        assert max(map(len, sent.pieces)) <= SLICE_BYTES
        assert body.is_sent


async def test_many_small_pieces_are_few_to_send() -> None:
    pieces = Pieces()
    for _ in range(5000):
        pieces.add(memoryview(b"0123456789" * 20))
    sent = Sent()
    await pieces.body().write(sent)
    assert b"".join(sent.pieces) == b"0123456789" * 100_000
    assert len(sent.pieces) <= 2 * -(-1_000_000 // SLICE_BYTES)


async def test_large_ones_are_not_copied() -> None:
    pieces = Pieces()
    pieces.add(memoryview(LARGE))
    (kept,) = pieces.body()._pieces
    assert isinstance(kept, memoryview)
    assert kept.obj is LARGE


async def test_nothing() -> None:
    body = Pieces().body()
    await body.compute_digest()
    assert (body.length, body.read()) == (0, b"")
    assert body.sha256 == hashlib.sha256(b"").hexdigest()
