"""What data looks like, by oslo.utils' inspectors, fed as long as one of them can learn from it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from oslo_utils.imageutils.format_inspector import ALL_FORMATS, FileInspector, ImageFormatError

# What inspectors are fed with at a time: some look at no more than the first, so that what they
# think depends on it.  It is what Glance's stores read.
CHUNK_BYTES: Final = 64 << 10


class Recognition:
    """Learns what one stream of data is.

    A chunk takes 0.1 ms while all formats are possible, and there are five such chunks for disks of
    every kind but a VMDK with a footer.
    """

    def __init__(self) -> None:
        self._inspectors = {name: make() for name, make in ALL_FORMATS.items()}
        self._learning = list(self._inspectors.values())
        self._rest = bytearray()

    @property
    def is_certain(self) -> bool:
        """Whether more data makes no difference."""
        return not self._learning

    def see(self, data: bytes) -> None:
        """Look at the next bytes."""
        if self.is_certain:
            return
        self._rest += data
        while self._learning and len(self._rest) >= CHUNK_BYTES:
            self._learn(bytes(self._rest[:CHUNK_BYTES]))
            del self._rest[:CHUNK_BYTES]
        if self.is_certain:
            self._end()

    def end(self) -> None:
        """Take note that there is no more data."""
        if self._learning:
            self._learn(bytes(self._rest))
            self._learning.clear()
            self._end()

    def found(self) -> dict[str, FileInspector]:
        """Return the inspectors that know the data, by format; the one of raw if none does."""
        known = {
            name: each
            for name, each in self._inspectors.items()
            if name != "raw" and _matches(each)
        }
        return known or {"raw": self._inspectors["raw"]}

    def _learn(self, chunk: bytes) -> None:
        for inspector in tuple(self._learning):
            was_complete = inspector.complete
            try:
                inspector.eat_chunk(chunk)
            except Exception:  # noqa: BLE001  # whatever data makes of a parser: it is not its format
                self._learning.remove(inspector)
                continue
            # What one chunk completes can begin a search in the next.
            if was_complete and inspector.complete:
                self._learning.remove(inspector)

    def _end(self) -> None:
        self._rest.clear()
        for inspector in self._inspectors.values():
            inspector.finish()


def only(found: dict[str, FileInspector]) -> FileInspector:
    """Return the one inspector that knows the data; `ImageFormatError` if several do."""
    if len(found) > 1:
        raise ImageFormatError(f"Multiple formats detected: {','.join(sorted(found))}")
    return next(iter(found.values()))


def recognise_file(path: Path) -> FileInspector:
    """Return what a file is; `ImageFormatError` if that is not one thing.  Blocks."""
    recognition = Recognition()
    with path.open("rb") as file:
        while not recognition.is_certain and (piece := file.read(CHUNK_BYTES)):
            recognition.see(piece)
    recognition.end()
    return only(recognition.found())


def _matches(inspector: FileInspector) -> bool:
    try:
        return inspector.format_match
    except Exception:  # noqa: BLE001  # oslo.utils' fail over data that they do not know
        return False
