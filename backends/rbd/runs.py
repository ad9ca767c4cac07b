"""What of an image is not zeros, and so must be written where zeros are to take no room.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK_BYTES = 64 << 10  # shorter zeros are written: Ceph's own pieces are of about this size
_ZEROS = bytes(BLOCK_BYTES)


def written_runs(chunk: bytes) -> Iterator[slice]:
    """Yield the runs of blocks that are not all zeros, none of them empty."""
    begun = 0
    for start in range(0, len(chunk), BLOCK_BYTES):
        block = chunk[start : start + BLOCK_BYTES]
        if not _ZEROS.startswith(block):
            continue
        if begun < start:
            yield slice(begun, start)
        begun = start + len(block)
    if begun < len(chunk):
        yield slice(begun, len(chunk))
