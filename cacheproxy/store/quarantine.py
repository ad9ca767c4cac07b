"""Damaged files set aside for whoever wants to know why, within bounds.  Blocking."""

from __future__ import annotations

import logging
import re
from pathlib import Path

log = logging.getLogger(__name__)

FILES_MAX = 32
LIMIT_SHARE = 32  # the part of the cache's limit that they may take: one in so many

_NAME = re.compile(r"(?:index|pins|[0-9a-f]{64})\.([0-9]{1,18})")
_BLOCK = 512


class Quarantine:
    """The files in the quarantine directory, the oldest removed first; others' are left alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: list[tuple[int, str, int]] = []  # number, name, bytes on disk
        for path in directory.iterdir():
            match = _NAME.fullmatch(path.name)
            if match is not None:
                self._files.append((int(match[1]), path.name, path.stat().st_blocks * _BLOCK))
        self._files.sort()

    @property
    def cost(self) -> int:
        """Bytes on disk of all of them."""
        return sum(cost for _, _, cost in self._files)

    def take(self, path: Path, name: str) -> None:
        """Move a file here; one that is gone is no error.  Nothing is ever copied."""
        number = self._files[-1][0] + 1 if self._files else 1
        kept = f"{name}.{number}"
        try:
            path.rename(self._directory / kept)
        except FileNotFoundError:
            return
        cost = (self._directory / kept).stat().st_blocks * _BLOCK
        self._files.append((number, kept, cost))

    def trim(self, bytes_max: int) -> None:
        """Remove the oldest until the rest is within the bounds."""
        while self._files and (len(self._files) > FILES_MAX or self.cost > bytes_max):
            try:
                (self._directory / self._files[0][1]).unlink(missing_ok=True)
            except OSError as error:
                log.error("a quarantined file cannot be removed: %s", error.strerror)  # noqa: TRY400 -- it stays counted
                return
            del self._files[0]
