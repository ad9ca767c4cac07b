"""Image data straight from the stores: the upstream is asked for permission only.

The store is an http server of the test's own, so that it can be cut, held and told to lie; what is
in a file store is read as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.admin.results import StatusResult
from harness.commands import Commands
from harness.images import random_bytes
from harness.origin import Origin, OriginImage, Ranges, origin
from harness.story import CHUNK, Story, figure, story

SIZE = 9 * CHUNK + 4321
DATA = random_bytes(SIZE, seed=17)
SECRET = "the-secret-of-a-store"
STORES = """
[DEFAULT]
enabled_backends = far:http, near:file
[glance_store]
default_backend = near
[far]
weight = 3
[near]
filesystem_store_datadir = {directory}
"""


@dataclass(eq=False)
class Scene:
    """A story and a store far away."""

    told: Story
    far: Origin
    near: Path

    @property
    def commands(self) -> Commands:
        """The command line of the node."""
        return Commands(self.told.node.cache.parent / "cacheproxy.conf")

    def add(self, **how: Any) -> tuple[OriginImage, OriginImage]:
        """Add an image to the upstream and to the store; both of it."""
        image, stored = self.told.glance.add(DATA, **how), self.far.add(DATA)
        host = self.far.url.removeprefix("http://")
        image.record["locations"] = [
            {
                "url": f"http://somebody:{SECRET}@{host}/v2/images/{stored.id}/file",
                "metadata": {"store": "far"},
            }
        ]
        return image, stored

    async def figures(self) -> tuple[float, float]:
        """Return the bytes that came from the upstream, and straight from the far store."""
        samples = await self.told.idle()
        direct = samples.get('cacheproxy_direct_bytes_total{kind="http"}', 0.0)
        return figure(samples, "upstream_bytes_total"), direct


@asynccontextmanager
async def scene(directory: Path, more: str = "") -> AsyncIterator[Scene]:
    """Run a node that reads two stores."""
    near, file = directory / "near", directory / "stores.conf"
    near.mkdir()
    file.write_text(STORES.format(directory=near))
    read = f"[stores]\nconfig_file = {file}\nread = far, near\n{more}"
    async with origin() as far, story(directory, more=read) as told:
        yield Scene(told, far, near)
        await told.idle()
        log = told.node.program.log.read_text()
        assert SECRET not in log
        for path in (path for path in told.node.cache.rglob("*") if path.is_file()):
            assert SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("ranges", ["yes", "refused"])
async def test_the_upstream_sends_nothing(tmp_path: Path, ranges: Ranges) -> None:
    async with scene(tmp_path) as made:
        image, stored = made.add(ranges=ranges)
        part = made.told.ask(image.id, f"bytes={CHUNK - 3}-{CHUNK + 2}")
        assert await part.body() == DATA[CHUNK - 3 : CHUNK + 3]
        assert await made.told.ask(image.id).body() == DATA
        assert await made.figures() == (0, SIZE)
        assert (image.data_requests, stored.sent_bytes) == ([], SIZE)
        assert made.told.chunk_files() == 10
        assert await made.told.ask(image.id).body() == DATA
        assert await made.figures() == (0, SIZE)


async def test_a_range_of_a_published_image(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        image, stored = made.add(ranges="refused")
        image.publish(CHUNK)
        part = made.told.ask(image.id, f"bytes={5 * CHUNK + 1}-{5 * CHUNK + 9}")
        assert await part.body() == DATA[5 * CHUNK + 1 : 5 * CHUNK + 10]
        assert await made.figures() == (0, CHUNK)
        assert (image.data_requests, stored.sent_bytes) == ([], CHUNK)


async def test_a_file_store(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        image = made.told.glance.add(DATA, ranges="refused")
        (made.near / image.id).write_bytes(DATA)
        image.record["direct_url"] = f"file://{made.near}/{image.id}"
        other = made.told.glance.add(DATA[:CHUNK])
        secret = tmp_path / "passwd"
        secret.write_bytes(DATA[:CHUNK])
        other.record["direct_url"] = f"file://{secret}"
        linked = made.told.glance.add(DATA[1 : CHUNK + 1])
        linked.record["direct_url"] = f"file://{made.near}/../passwd"
        assert await made.told.ask(image.id).body() == DATA
        assert await made.told.ask(other.id).body() == DATA[:CHUNK]
        assert await made.told.ask(linked.id).body() == DATA[1 : CHUNK + 1]
        samples = await made.told.idle()
        assert figure(samples, "direct_bytes_total", kind="file") == SIZE
        assert figure(samples, "direct_reads_total", kind="file") == 1  # nothing outside of it
        assert figure(samples, "upstream_bytes_total") == 2 * CHUNK


@pytest.mark.parametrize("ranges", ["yes", "refused"])
async def test_a_store_that_dies_in_the_middle_is_not_noticed(
    tmp_path: Path, ranges: Ranges
) -> None:
    at = 4 * CHUNK + 1000
    async with scene(tmp_path) as made:
        image, stored = made.add(ranges=ranges)
        hold = stored.hold_at(at)
        reading = made.told.ask(image.id)
        await hold.reached.wait()
        await reading.received(4 * CHUNK)
        stored.cuts = [at, at, at, at]  # also for who tries again
        stored.data_status = 503
        hold.release.set()
        assert await reading.body() == DATA
        upstream, direct = await made.figures()
        assert at >= direct >= 4 * CHUNK
        assert upstream == (SIZE - direct if ranges == "yes" else SIZE)
        assert await made.told.metric("direct_failing_stores") == 1
        status = await made.commands.told(StatusResult, "status")
        assert [(each.name, bool(each.trouble)) for each in status.stores] == [
            ("far", True),
            ("near", False),
        ]
        # It is back, and found again by somebody who reads something from it.
        while "is read again" not in made.told.node.program.log.read_text():
            other, _ = made.add(ranges=ranges)
            assert await made.told.ask(other.id).body() == DATA
        last, _ = made.add(ranges=ranges)
        assert await made.told.ask(last.id).body() == DATA
        await made.told.idle()
        assert last.data_requests == []
        assert await made.told.metric("direct_failing_stores") == 0


async def test_who_may_not_gets_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        image, stored = made.add(tokens={"member"})
        refused = made.told.ask(image.id, headers={"X-Auth-Token": "stranger"})
        await refused.body()
        assert refused.status == 403
        allowed = made.told.ask(image.id, headers={"X-Auth-Token": "member"})
        assert await allowed.body() == DATA
        refused = made.told.ask(image.id, headers={"X-Auth-Token": "stranger"})
        await refused.body()
        assert refused.status == 403
        assert stored.sent_bytes == SIZE
        await made.told.idle()


async def test_preferred_stores(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        image, stored = made.add()
        (made.near / image.id).write_bytes(DATA)
        near = {"url": f"file://{made.near}/{image.id}", "metadata": {"store": "near"}}
        image.record["locations"].append(near)
        image.preferable, image.preferring_tokens = {"near", "far"}, {"member"}
        for token, query, status in (
            ("member", "?prefer=elsewhere", 400),
            ("stranger", "?prefer=near", 403),
        ):
            asked = made.told.ask(image.id, headers={"X-Auth-Token": token}, query=query)
            await asked.body()
            assert asked.status == status
        member = {"X-Auth-Token": "member"}
        asked = made.told.ask(image.id, headers=member, query="?prefer=near%2Cfar")
        assert await asked.body() == DATA
        assert stored.sent_bytes == 0
        assert await made.told.metric("direct_bytes_total", kind="file") == SIZE
        # What is cached is the same from whichever store; who may name one is asked all the same.
        assert await made.told.ask(image.id, headers=member, query="?prefer=far").body() == DATA
        refused = made.told.ask(image.id, headers={"X-Auth-Token": "x"}, query="?prefer=far")
        await refused.body()
        assert refused.status == 403
        assert await made.told.ended("hit") == 1
        assert await made.figures() == (0, 0)


async def test_a_store_that_lies(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        image, stored = made.add()
        image.publish(CHUNK)
        stored.wrong_at = 3 * CHUNK + 1
        assert await made.told.ask(image.id).body() == DATA
        upstream, _ = await made.figures()
        assert upstream == CHUNK
        learnt, stored = made.add()
        learnt.record["checksum"] = None
        stored.wrong_at = 3 * CHUNK + 1
        first = made.told.ask(learnt.id)
        assert await first.ended() in ("reset", "cut")
        await made.told.idle()
        assert await made.told.ask(learnt.id).body() == DATA
        assert learnt.sent_bytes == SIZE
