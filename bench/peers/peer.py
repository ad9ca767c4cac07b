"""What a peer is: a program that is started in front of an origin and serves its images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.scenario import MissingError
from bench.server import Server, pinned, running

CACHE_BYTES = 4 << 30  # more than any scenario has: who evicts is not compared here


class Start(Protocol):
    """Starts it, with all that it writes below `home`, and ends it with the block.

    It runs on the first `workers` cores with a process or thread for each, keeps no log, and finds
    what an earlier run left in the same `home`.  MissingError if its program is not there.
    """

    def __call__(
        self, home: Path, origin_url: str, *, workers: int = 1, cache_bytes: int = CACHE_BYTES
    ) -> AbstractContextManager[Server]: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """A program that can be measured."""

    name: str
    package: str  # Debian's; empty: ours
    start: Start


def program(name: str, package: str) -> str:
    """Return the path of a program of a Debian package; MissingError if it is not installed."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise MissingError(f"{name} is not installed (package {package}): make bench-deps")
    return found


@contextmanager
def started(  # noqa: PLR0913  a program, where it runs and how one sees that it does
    name: str,
    command: Sequence[str],
    home: Path,
    port: int,
    *,
    cores: Sequence[int],
    metrics_url: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run a program on these cores until the end of the block; whoever measures keeps his own."""
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        with pinned(*cores):
            server = stack.enter_context(
                running(name, command, home, url, metrics_url=metrics_url, environment=environment)
            )
        yield server
