"""Glance 33 and Keystone, each one gunicorn worker with 16 threads: with its own image cache, and without."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.load import Target
from bench.origin import Image
from bench.scenario import MissingError
from bench.server import LOAD_CORE, SERVER_CORE, Server, path_of, pinned

if TYPE_CHECKING:
    import harness.glance
    from harness.images_api import ImagesApi

CACHED_SECONDS = 60.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Glance:
    """A running Glance; only one with a cache knows how to forget and keep."""

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

    def read_bytes(self) -> int:
        """Return what its processes have read from files so far: the store's, the cache's, others."""
        pages = (Path(f"/proc/{each.pid}/io").read_text() for each in self.server.processes())
        return sum(int(page.split()[1]) for page in pages)  # rchar: sockets are not read(2)

    def images_read(self, before: int, target: Target) -> float:
        """Return how often an image was read since, to a tenth: the database is read too."""
        return round((self.read_bytes() - before) / target.size, 1)


@dataclass(frozen=True, slots=True)
class Glances:
    """Two of them."""

    caching: Glance  # with its own cache, on the core of the servers
    plain: Glance  # without: ours is before it, and does that; on the core of the load, as upstreams are


@contextmanager
def glances(home: Path) -> Iterator[Glances]:
    """Run both, and Keystone beside the load; MissingError if they are not installed."""
    # The command line says where they are, and only who measures Glance needs pytest.
    from harness.glance import running_caching_glance, running_glance  # noqa: PLC0415
    from harness.images_api import ImagesApi  # noqa: PLC0415
    from harness.keystone import ADMIN, running_keystone  # noqa: PLC0415
    from harness.services import ENVIRONMENTS  # noqa: PLC0415

    for name in ("keystone", "glance"):
        if not (ENVIRONMENTS / name / "installed").exists():
            raise MissingError(f"{name} is not installed: make services")
    directories = [home.resolve() / name for name in ("keystone", "caching", "plain")]
    for directory in directories:
        directory.mkdir(parents=True)
    with ExitStack() as stack:
        with pinned(LOAD_CORE):
            keystone = stack.enter_context(running_keystone(directories[0]))
        admin = {"X-Auth-Token": keystone.token(ADMIN)}

        def started(running: AbstractContextManager[harness.glance.Glance], core: int) -> Glance:
            with pinned(core):
                glance = stack.enter_context(running)
            return Glance(server_of(glance), ImagesApi(glance.url, glance.headers), admin)

        yield Glances(
            started(running_caching_glance(directories[1], keystone), SERVER_CORE),
            started(running_glance(directories[2], keystone), LOAD_CORE),
        )


def server_of(glance: harness.glance.Glance) -> Server:
    """Return the processes of a Glance that the tests' harness has started."""
    from harness.program import Program  # noqa: PLC0415

    name = f"glance-{urlsplit(glance.url).port}"
    (program,) = (each for each in Program.running if each.name == name)
    return Server("glance", glance.url, program.process.pid)


def _id(target: Target) -> str:
    return target.path.split("/")[3]
