"""Checks a cache directory that no daemon uses.  Blocking; changes nothing unless it is told to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cacheproxy.errors import StorageError
from cacheproxy.store.files import CHUNK_BYTES_MAX, ChunkFiles
from cacheproxy.store.indexview import IndexView
from cacheproxy.store.layout import IndexDamagedError
from cacheproxy.store.quarantine import FILES_MAX
from cacheproxy.store.tree import PREFIXES

BAD_MAX = 1000  # of the chunks found bad, so many are named
THREADS = 4  # reading and hashing at once
QUARANTINE_BYTES_MAX = FILES_MAX * CHUNK_BYTES_MAX  # the limit is not known here


@dataclass(slots=True)
class DirectoryReport:
    """What was found so far."""

    total: int = 0  # chunks that the index lists
    index: Literal["readable", "damaged", "absent"] = "absent"
    chunks: int = 0  # files checked
    read_bytes: int = 0
    damaged: int = 0
    missing: int = 0  # listed, without a file
    unreadable: int = 0  # the disk did not let their files be opened
    orphans: int = 0  # files that the index does not list; a start adopts them
    set_aside: int = 0  # damaged ones, moved into quarantine
    progress: float = 0.0  # 0 to 1
    bad: list[bytes] = field(default_factory=list)  # the first of the damaged and missing

    def name(self, digest: bytes) -> None:
        """Name a chunk that is damaged or missing."""
        if len(self.bad) < BAD_MAX:
            self.bad.append(digest)


def verify_directory(
    directory: Path,
    progress: Callable[[DirectoryReport], None] | None = None,
    *,
    repair: bool = False,
) -> DirectoryReport:
    """Read all chunk files of a store and compare them with their digests and with its index.

    `repair` sets damaged ones aside; what is missing, or an orphan, the next start settles.
    `progress` is called after each chunk.  Raises `ConfigError` if there is no store, or a daemon
    uses it; `StorageError` if the disk fails in a way that is not one chunk's.
    """
    report = DirectoryReport()
    with (
        closing(ChunkFiles.examine(directory)) as files,
        ThreadPoolExecutor(THREADS, "verify") as pool,
    ):
        index = _open_index(files, report)
        try:
            for prefix in range(PREFIXES):
                listed = _listed(index, prefix, report)
                found = [file.digest for file in files.found(prefix)]
                if listed is not None:
                    report.orphans += len(set(found) - listed)
                    for digest in sorted(listed - set(found)):
                        report.missing += 1
                        report.name(digest)
                looks = pool.map(lambda digest: _look(files, digest), found)
                for number, (digest, (size, right)) in enumerate(zip(found, looks, strict=True), 1):
                    _count(report, digest, size, right=right)
                    if right is False and repair:
                        files.set_aside(digest, QUARANTINE_BYTES_MAX)
                        report.set_aside += 1
                    report.progress = (prefix + number / len(found)) / PREFIXES
                    if progress is not None:
                        progress(report)
        finally:
            if index is not None:
                index.close()
    report.progress = 1.0
    return report


def _open_index(files: ChunkFiles, report: DirectoryReport) -> IndexView | None:
    if not (files.index_path / "data.mdb").exists():
        return None
    try:
        index = IndexView(files.index_path)
        report.total = index.count()
    except IndexDamagedError:
        report.index = "damaged"
        return None
    report.index = "readable"
    return index


def _listed(index: IndexView | None, prefix: int, report: DirectoryReport) -> set[bytes] | None:
    """Return the digests that the index lists, None if it does not say."""
    if index is None or report.index == "damaged":
        return None
    try:
        return index.digests(prefix)
    except IndexDamagedError:
        report.index = "damaged"
        return None


def _look(files: ChunkFiles, digest: bytes) -> tuple[int, bool | None]:
    """In a thread: the size of a chunk's file, and whether it is right; None: it cannot be opened."""
    try:
        return files.check(digest)
    except StorageError:
        return 0, None


def _count(report: DirectoryReport, digest: bytes, size: int, *, right: bool | None) -> None:
    report.chunks += 1
    report.read_bytes += size
    report.unreadable += right is None
    report.damaged += right is False
    if not right:
        report.name(digest)
