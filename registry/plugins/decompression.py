"""Takes images out of what they are packed in: gzip, or zip with one file in it.

Glance takes LHA too where a module for it is installed; that one holds the whole of an image in
memory, and such an image is refused here as by a Glance without it.
"""

from __future__ import annotations

import asyncio
import gzip
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from registry.domain.errors import InvalidRequestError, LimitExceededError
from registry.domain.image import Image
from registry.plugins.failures import disk_failures

_PIECE_BYTES: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b\x08"
_ZIP: Final = b"PK\x03\x04"
_LHA: Final = b"-lh"  # at the third byte
_HEAD_BYTES: Final = 5
_READ_BYTES_MAX: Final = 1 << 20  # a zip's directory, of which one file's entry is a fifth
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # unpacked in pieces
_MALFORMED: Final = (
    *(EOFError, gzip.BadGzipFile, zlib.error),
    # What zipfile raises of files that are damaged, of a later version, or with a password.
    *(zipfile.BadZipFile, struct.error, ValueError, OverflowError, IndexError, RuntimeError),
)


async def decompress(
    source: Path, target: Path, image: Image, image_size_cap: int
) -> Mapping[str, Any]:
    """Unpack a file into another one and return the image's `size`; nothing if it is not packed.

    What comes out ends at `image_size_cap` bytes (`LimitExceededError`), whatever it claims to be.
    """
    if image.container_format == "compressed":
        return {}
    stop = threading.Event()
    unpacking = asyncio.create_task(
        asyncio.to_thread(_unpack, source, target, image_size_cap, stop)
    )
    try:
        size = await asyncio.shield(unpacking)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({unpacking})  # for one piece more
        unpacking.exception()  # it matters no more
        raise
    return {} if size is None else {"size": size}


def _unpack(source: Path, target: Path, most: int, stop: threading.Event) -> int | None:
    """Return how many bytes there are; None if the file is not packed.  Blocks."""
    with disk_failures(), source.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(0)
        if head.startswith(_LHA, 2):
            raise InvalidRequestError("No lhafile available.")
        if not head.startswith((_ZIP, _GZIP)):
            return None
        opening = _unzipped if head.startswith(_ZIP) else gzip.GzipFile
        try:
            with opening(fileobj=file) as packed, target.open("wb") as unpacked:
                return _copy(packed, unpacked, most, stop)
        except _MALFORMED as error:
            raise InvalidRequestError(f"The image cannot be decompressed: {error}") from None


class _Frugal:
    """A file that is read in small pieces only: zipfile reads a whole directory, however large."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell, self.seekable = file.tell, file.seekable

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError:  # no failure of the disk, which is not asked
            raise zipfile.BadZipFile("It points outside of itself") from None

    def read(self, size: int = -1) -> bytes:
        if size > _READ_BYTES_MAX:
            raise InvalidRequestError("Archive contains more than one file.")
        return self._file.read(size)


@contextmanager
def _unzipped(fileobj: IO[bytes]) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(_Frugal(fileobj)) as archive:
        members = archive.infolist()
        if len(members) != 1:
            raise InvalidRequestError("Archive contains more than one file.")
        if members[0].is_dir():
            raise InvalidRequestError("Archive contains no file.")
        if members[0].compress_type not in _METHODS:
            raise InvalidRequestError("Archive is packed by another method than deflate.")
        with archive.open(members[0]) as opened:
            yield opened


def _copy(
    packed: IO[bytes] | gzip.GzipFile, unpacked: IO[bytes], most: int, stop: threading.Event
) -> int:
    size = 0
    while not stop.is_set() and (piece := packed.read(_PIECE_BYTES)):
        size += len(piece)
        if size > most:
            raise LimitExceededError(f"The decompressed image is too large: more than {most} bytes")
        unpacked.write(piece)
    return size
