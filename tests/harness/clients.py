"""Real clients, unpatched, and where they are pointed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ
from pathlib import Path

from harness.images_api import ImagesApi
from harness.node import Node

CLIENT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a client talks to."""

    url: str
    headers: dict[str, str]  # what identifies a member of a project
    environment: dict[str, str]  # by which OpenStack's clients log in and find `url`
    source: ImagesApi  # the upstream itself, without the proxy
    node: Node | None  # the proxy, if there is one

    @property
    def api(self) -> ImagesApi:
        """The Images API as the client sees it."""
        return ImagesApi(self.url, self.headers)

    def data_url(self, image: str) -> str:
        """Return where an image's data are."""
        return f"{self.url}/v2/images/{image}/file"

    @contextmanager
    def fetching(self, size: int) -> Iterator[None]:
        """Check that a proxy, if there is one, fetches exactly so many bytes meanwhile."""
        if self.node is None:
            yield
            return
        before = self.node.metrics()["cacheproxy_upstream_bytes_total"]
        yield
        assert self.node.metrics()["cacheproxy_upstream_bytes_total"] - before == size


def client(*command: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a client, as it is installed, and return what it prints; fail if it does."""
    ours = Path(sys.prefix) / "bin" / command[0]
    program = str(ours) if ours.exists() else shutil.which(command[0])
    assert program, f"{command[0]} is not installed"
    kept = {name: environ[name] for name in ("PATH", "HOME", "LANG") if name in environ}
    done = subprocess.run(
        [program, *command[1:]],
        env={**kept, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    )
    return done.stdout.strip()
