"""Block traces: whose format is seen from their content, and numbers that become digests."""

from __future__ import annotations

import gzip
import hashlib
import lzma
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.scenario import MissingError

_GZIP = b"\x1f\x8b"
_XZ = b"\xfd7zXZ\0"
_TEXT = set(b"0123456789 \t\r\n*")


@dataclass(frozen=True, slots=True)
class Trace:
    """Uses of blocks, in order; blocks are numbered from 0 in the order of their first use."""

    name: str
    uses: array[int]
    blocks: int

    @classmethod
    def of(cls, name: str, numbers: Iterable[int | bytes]) -> Trace:
        """Number the blocks anew."""
        known: dict[int | bytes, int] = {}
        uses = array("I", (known.setdefault(number, len(known)) for number in numbers))
        return cls(name, uses, len(known))

    def first(self, uses: int) -> Trace:
        """Return the trace of its first uses."""
        return self.of(self.name, self.uses[:uses])


def load(path: Path) -> Trace:
    """Read a trace: plain, gzip or xz; of little-endian 32-bit numbers, or of decimal lines.

    A line `*`, which some traces have where a program ended, is passed over.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingError(f"no trace {path}: {error.strerror}") from error
    if data.startswith(_GZIP):
        data = gzip.decompress(data)
    elif data.startswith(_XZ):
        data = lzma.decompress(data)
    name = path.name.partition(".")[0]
    if _TEXT.issuperset(data[:4096]):
        return Trace.of(name, (word for word in data.split() if word != b"*"))
    if len(data) % 4:
        raise MissingError(f"{path} is no trace: neither decimal lines nor 32-bit numbers")
    numbers = array("I", data)
    if memoryview(array("H", [1])).tobytes() != b"\1\0":
        numbers.byteswap()
    return Trace.of(name, numbers)


def digests(blocks: int, seed: int = 0) -> list[bytes]:
    """Give each block a digest, as evenly distributed as those of chunks are."""
    salt = seed.to_bytes(8, "little")
    return [
        hashlib.blake2b(block.to_bytes(8, "little"), digest_size=32, salt=salt).digest()
        for block in range(blocks)
    ]
