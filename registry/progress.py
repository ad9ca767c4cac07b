"""How far a command is that takes its time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from tqdm import tqdm

tqdm.set_lock(RLock())  # no other process writes; its own lock is made for several


@contextmanager
def progress(what: str, count: int, unit: str) -> Iterator[tqdm[None]]:
    """Show a bar on a terminal, nothing elsewhere."""
    with tqdm(total=count, desc=what, unit=f" {unit}", disable=None, file=sys.stderr) as bar:
        yield bar
