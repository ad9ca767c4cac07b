"""Glance 33 with its own image cache and Keystone: one gunicorn worker with 16 threads, as it recommends."""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.load import Target
from bench.origin import Image
from bench.scenario import MissingError
from bench.server import LOAD_CORE, SERVER_CORE, Server, path_of, pinned

if TYPE_CHECKING:
    from harness.images_api import ImagesApi

CACHED_SECONDS = 60.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Glance:
    """A running Glance, alone on the core of the servers."""

    server: Server
    member: ImagesApi
    admin: dict[str, str]  # headers

    def add(self, wanted: Image) -> Target:
        """Upload an image that is in the origin's form."""
        image_id = self.member.add(wanted.data)
        return Target(path_of(image_id), wanted.size, self.member.headers["X-Auth-Token"])

    def forget(self, target: Target) -> None:
        """Take an image out of its cache."""
        self._cache("DELETE", f"/{_id(target)}")

    def keep(self, target: Target) -> None:
        """Have an image in its cache."""
        deadline = time.monotonic() + CACHED_SECONDS
        self.member.download(_id(target)).expect(200)
        while _id(target) not in self._cache("GET"):
            if time.monotonic() > deadline:
                raise RuntimeError("Glance does not cache the image")
            time.sleep(POLL_SECONDS)

    def _cache(self, method: str, path: str = "") -> str:
        url = f"{self.server.url}/v2/cache{path}"
        request = urllib.request.Request(url, method=method, headers=self.admin)
        with urllib.request.urlopen(request, timeout=CACHED_SECONDS) as answer:
            body: bytes = answer.read()
        return body.decode()

    @contextmanager
    def as_upstream(self) -> Iterator[None]:
        """Let it run on the core of the load, where upstreams of measured servers are."""
        _move(self.server, LOAD_CORE)
        try:
            yield
        finally:
            _move(self.server, SERVER_CORE)

    def read_bytes(self) -> int:
        """Return what its processes have read from files so far: the store's, the cache's, others."""
        pages = (Path(f"/proc/{each.pid}/io").read_text() for each in self.server.processes())
        return sum(int(page.split()[1]) for page in pages)  # rchar: sockets are not read(2)

    def images_read(self, before: int, target: Target) -> float:
        """Return how often an image was read since, to a tenth: the database is read too."""
        return round((self.read_bytes() - before) / target.size, 1)


@contextmanager
def glance(home: Path) -> Iterator[Glance]:
    """Run it, and Keystone beside the load; MissingError if they are not installed."""
    # The command line says where they are, and only who measures Glance needs pytest.
    from harness.glance import running_caching_glance  # noqa: PLC0415
    from harness.images_api import ImagesApi  # noqa: PLC0415
    from harness.keystone import ADMIN, running_keystone  # noqa: PLC0415
    from harness.program import Program  # noqa: PLC0415
    from harness.services import ENVIRONMENTS  # noqa: PLC0415

    for name in ("keystone", "glance"):
        if not (ENVIRONMENTS / name / "installed").exists():
            raise MissingError(f"{name} is not installed: make services")
        (home / name).mkdir(parents=True)
    with ExitStack() as stack:
        with pinned(LOAD_CORE):
            keystone = stack.enter_context(running_keystone((home / "keystone").resolve()))
        with pinned(SERVER_CORE):
            directory = (home / "glance").resolve()
            running = stack.enter_context(running_caching_glance(directory, keystone))
        port = urlsplit(running.url).port
        (program,) = (each for each in Program.running if each.name == f"glance-{port}")
        yield Glance(
            Server("glance", running.url, program.process.pid),
            ImagesApi(running.url, running.headers),
            {"X-Auth-Token": keystone.token(ADMIN)},
        )


def _id(target: Target) -> str:
    return target.path.split("/")[3]


def _move(server: Server, core: int) -> None:
    """Move all threads of all its processes."""
    for process in server.processes():
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core})
