"""The RBD driver on a Ceph that stands still, ends, starts again, or shuts it out."""

from __future__ import annotations

import asyncio
import errno
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from backends.base import ReadStream
from backends.errors import (
    DeniedError,
    MissingError,
    NoSpaceError,
    StoreError,
    UnavailableError,
)
from contracts.rbd import left_in, location_of, opened, options_of
from contracts.subject import PIECE, pattern, read, write
from harness.ceph import Ceph, require_bindings, running_ceph
from harness.program import REPOSITORY

SECONDS = 2  # for an answer of Ceph's
CONTENT = pattern(64 * PIECE)
# Ends, as a program does, while what it asked for is not answered.
LEAVING = """
import asyncio, sys
from contextlib import suppress
from pathlib import Path
from backends.base import ReadStream
from backends.errors import UnavailableError
from backends.location import Location
from backends.rbd.store import RbdStore
from backends.rbd.options import RbdOptions

async def main():
    store = RbdStore(RbdOptions(configuration=Path(sys.argv[1]), answer_seconds=2, piece_bytes=4096))
    async with store.read(Location(sys.argv[2])) as stream:
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        with suppress(UnavailableError):
            async for piece in stream:
                pass
    await store.aclose()

asyncio.run(main())
print("ended")
"""


async def test_an_osd_that_stands_still_for_a_moment(ceph: Ceph) -> None:
    async with opened(options_of(ceph, read_ahead_bytes=2 * PIECE)) as store:
        reads: list[asyncio.Task[bytes]] = []
        async with store.create("image") as writer:
            await writer.write(CONTENT[: 8 * PIECE])
            with ceph.paused(ceph.osd):
                writing = asyncio.create_task(writer.write(CONTENT[8 * PIECE :]))
                await asyncio.wait({writing}, timeout=0.2)
                assert not writing.done()  # the buffer is full
            await writing
            location = (await writer.commit()).location
        with ceph.paused(ceph.osd):
            reads += [asyncio.create_task(read(store, location)) for _ in range(3)]
            await asyncio.wait(reads, timeout=0.2)
        assert await asyncio.gather(*reads) == 3 * [CONTENT]
        await store.delete(location)


async def test_an_osd_that_does_not_answer(ceph: Ceph) -> None:
    options = options_of(ceph, answer_seconds=SECONDS, read_ahead_bytes=2 * PIECE)
    async with opened(options) as store:
        location = await write(store, "image", CONTENT)
        async with store.read(location) as stream:
            await anext(aiter(stream))
            with ceph.paused(ceph.osd):
                attempts = (
                    store.stat(location),
                    read(store, location),
                    write(store, "other", CONTENT),
                    store.delete(location),
                    all_of(stream),
                )
                for result in await asyncio.gather(*attempts, return_exceptions=True):
                    assert isinstance(result, UnavailableError), result
        assert await read(store, location) == CONTENT
        await store.delete(location)
        assert await left_in(store) == set()


async def all_of(stream: ReadStream) -> list[bytes]:
    return [piece async for piece in stream]


async def test_an_upload_to_an_osd_that_stops_answering(ceph: Ceph) -> None:
    async with opened(options_of(ceph, answer_seconds=SECONDS)) as store:

        async def writing() -> None:
            async with store.create("image", len(CONTENT)) as writer:
                await writer.write(CONTENT[: 8 * PIECE])
                with ceph.paused(ceph.osd), pytest.raises(UnavailableError):
                    await writer.write(CONTENT[8 * PIECE :])
                with pytest.raises(StoreError):
                    await writer.commit()

        await writing()
        assert await left_in(store) == set()


@pytest.mark.parametrize("what", ["osd", "monitor"])
async def test_cancelled_while_nobody_answers(ceph: Ceph, what: str) -> None:
    """A place that was cancelled is free at once, or when Ceph's time is over."""
    async with opened(options_of(ceph, answer_seconds=SECONDS)) as store:
        with ceph.paused(getattr(ceph, what)):
            tasks = [
                asyncio.create_task(read(store, location_of(ceph, f"image-{number}")))
                for number in range(20)
            ]
            await asyncio.wait(tasks, timeout=0.2)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)


async def test_no_monitor(ceph: Ceph) -> None:
    async with opened(options_of(ceph, answer_seconds=SECONDS)) as store:
        with ceph.paused(ceph.monitor):
            attempts = [store.stat(location_of(ceph, "image")) for _ in range(20)]
            for result in await asyncio.gather(*attempts, return_exceptions=True):
                assert isinstance(result, UnavailableError), result
        location = await write(store, "image", b"x")
        assert await read(store, location) == b"x"
        await store.delete(location)


async def test_a_configuration_that_is_not_there(ceph: Ceph, tmp_path: Path) -> None:
    options = options_of(ceph, configuration=tmp_path / "absent.conf")
    async with opened(options) as store:
        with pytest.raises(UnavailableError, match=r"absent\.conf"):
            await store.stat(location_of(ceph, "image"))


async def test_the_configuration_that_librados_finds(
    ceph: Ceph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CEPH_CONF", str(ceph.configuration))
    async with opened(options_of(ceph, configuration=None)) as store:
        location = await write(store, "image", b"x")
        assert location == location_of(ceph, "image")
        await store.delete(location)


async def test_a_connection_that_was_shut_out(ceph: Ceph) -> None:
    """Ceph shuts out a client that it takes for dead; a new connection is a new client."""
    async with opened(options_of(ceph)) as store:
        location = await write(store, "image", CONTENT)
        async with store._cluster.visit("us") as visit:
            ours = visit.connection.handle.get_addrs()
        await asyncio.to_thread(ceph.tool, "ceph", "osd", "blocklist", "add", ours)
        with pytest.raises(UnavailableError):
            await read(store, location)
        assert await read(store, location) == CONTENT
        await store.delete(location)


async def test_an_osd_that_ends_and_starts(tmp_path: Path) -> None:
    with running_ceph(tmp_path) as ceph:
        async with opened(options_of(ceph)) as store:
            location = await write(store, "image", CONTENT)
            await asyncio.to_thread(ceph.stop_osd)
            reading = asyncio.create_task(read(store, location))
            await asyncio.wait({reading}, timeout=0.2)
            assert not reading.done()
            await asyncio.to_thread(ceph.start_osd)
            assert await reading == CONTENT
            await store.delete(location)
            assert await left_in(store) == set()


async def test_a_program_ends_while_nobody_answers(ceph: Ceph) -> None:
    require_bindings()
    async with opened(options_of(ceph)) as store:
        location = await write(store, "image", CONTENT)

        def leave() -> tuple[int, str]:
            command = [sys.executable, "-c", LEAVING, str(ceph.configuration), location.uri]
            with subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=REPOSITORY,
                text=True,
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "open\n"
                with ceph.paused(ceph.osd):
                    told, _ = process.communicate("go on\n", timeout=60)
                return process.returncode, told

        assert await asyncio.to_thread(leave) == (0, "ended\n")
        await store.delete(location)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (-errno.ENOENT, MissingError),
        (-errno.EDQUOT, NoSpaceError),
        (-errno.EPERM, DeniedError),
        (-errno.EROFS, UnavailableError),  # a write whose lock of the image was lost
        (-errno.ETIMEDOUT, UnavailableError),
        (0, UnavailableError),
    ],
)
def test_what_numbers_mean(number: int, kind: type[StoreError]) -> None:
    require_bindings()
    errors = importlib.import_module("backends.rbd.errors")
    assert type(errors.failure("image", number)) is kind
