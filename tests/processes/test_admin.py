"""The admin server with real sockets: what it answers, and what bad clients cannot do to it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from cacheproxy.admin import requests, wire
from cacheproxy.admin.results import ImageRow
from cacheproxy.processes import admin
from cacheproxy.processes.admin import AdminServer
from cacheproxy.processes.admin_socket import AdminSocket, AdminSocketError
from harness.admin_case import CHUNK, AdminCase, AdminClient, administered, client, serving


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[AdminCase]:
    async with administered(tmp_path / "cache", complete_in_background=False) as made:
        await made.store.reconciled()
        yield made
        for image in made.origin.images.values():
            for hold in image.holds:
                hold.release.set()
        await made.idle()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


@pytest.fixture
async def server(case: AdminCase, path: Path) -> AsyncIterator[AdminServer]:
    async with serving(case, path) as made:
        yield made
        await calm(made)
    assert removed(path)


@pytest.fixture
async def ask(server: AdminServer, path: Path) -> AsyncIterator[AdminClient]:
    assert server.listening.is_set()
    async with client(path) as connected:
        yield connected


def removed(path: Path) -> bool:
    return not path.exists()


async def calm(server: AdminServer) -> None:
    """Wait until the server has no client."""
    while server._clients:
        await asyncio.wait(tuple(server._clients))


# --- what it answers ------------------------------------------------------------------------------


async def test_a_question_is_answered(ask: AdminClient) -> None:
    await ask.ask(requests.Status())
    told = await ask.result()
    assert isinstance(told, dict)
    assert told["version"] == "1.2.3"
    assert await ask.event() is None


async def test_rows_come_before_the_end_of_a_list(case: AdminCase, ask: AdminClient) -> None:
    image = await case.cached(1, 2)
    await ask.ask(requests.List())
    rows = await ask.event()
    assert isinstance(rows, wire.Rows)
    assert [(row.image, row.cached_bytes) for row in rows.rows] == [(image.id, 2 * CHUNK)]
    assert await ask.result() == {"images": 1}


async def test_every_command_is_carried_out(
    case: AdminCase, server: AdminServer, path: Path
) -> None:
    image = await case.cached(1, 2)
    for request, answer in (
        (requests.Show(image=image.id), {"image": image.id, "knowledge": "proven"}),
        (requests.Pin(image=image.id), {"pinned": True, "changed": True}),
        (requests.Unpin(image=image.id), {"pinned": False, "changed": True}),
        (requests.Verify(images=[image.id]), {"chunks": 2, "damaged_chunks": 0}),
        (requests.Prefetch(images=[image.id]), {"waited": True}),
        (requests.Prefetch(images=[image.id], wait=False), {"waited": False}),
        (requests.Purge(), {"image": None, "workers": 1}),
        (requests.Purge(image=image.id), {"image": image.id, "workers": 1}),
        (requests.Gc(), {"images": 0, "contents": 0}),
        (requests.Evict(images=[image.id]), {}),
    ):
        async with client(path) as ask:
            await ask.ask(request)
            told = await ask.result()
            assert isinstance(told, dict)
            assert told | answer == told
    assert case.chunk_files() == 0
    assert server.listening.is_set()


async def test_a_command_that_fails_says_why(ask: AdminClient) -> None:
    await ask.ask(requests.Show(image="x"))
    error = await ask.error()
    assert (error.code, error.message) == ("unknown-image", "nothing is known of image x")


async def test_a_defect_is_told_and_logged(
    case: AdminCase,
    ask: AdminClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(case.inspection, "status", lambda: 1 / 0)
    await ask.ask(requests.Status())
    assert (await ask.error()).code == "failed"
    assert "ZeroDivisionError" in caplog.text


async def test_progress_is_told_while_it_goes_on(
    case: AdminCase, ask: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "PROGRESS_SECONDS", 0.001)
    image = case.add(1, 2, 3)
    hold = image.hold_at(2 * CHUNK)
    await ask.ask(requests.Prefetch(images=[image.id], token="t"))
    event = await ask.event()
    while not isinstance(event, wire.Progressed) or event.progress.done_bytes < CHUNK:
        event = await ask.event()
    assert event.progress.image == image.id
    assert event.progress.total_bytes == 3 * CHUNK
    hold.release.set()
    told = await ask.result()
    assert isinstance(told, dict)
    assert told["images"][0]["cached_bytes"] == 3 * CHUNK


async def test_a_sign_of_life_is_given_where_there_is_no_progress(
    case: AdminCase, ask: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "PROGRESS_SECONDS", 0.001)
    monkeypatch.setattr(wire, "ALIVE_SECONDS", 0)
    image = case.add(1, 2)
    hold = image.hold_at(CHUNK)
    await ask.ask(requests.Prefetch(images=[image.id], token="t"))
    await hold.reached.wait()
    while not isinstance(await ask.event(), wire.Alive):
        pass
    hold.release.set()
    assert await ask.result()


async def test_who_changes_anything_is_logged_and_no_token(
    case: AdminCase, server: AdminServer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    image = case.add(1)
    image.tokens = {"other"}
    for request in (
        requests.Status(),
        requests.Prefetch(images=[image.id], token="s3cret"),
        requests.Evict(images=["x", "y"]),
    ):
        async with client(path) as ask:
            await ask.ask(request)
            await ask.result()
    await calm(server)
    who = f"asked by user {os.getuid()} (process {os.getpid()})"
    assert f"admin: prefetch {image.id}, {who}" in caplog.text
    assert f"admin: evict x y, {who}" in caplog.text
    assert "status" not in caplog.text
    assert "s3cret" not in caplog.text


# --- bad clients ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\n", "not a request"),
        (b"GET / HTTP/1.1\r\n\r\n", "not a request"),
        (b"\xff\xfe\n", "not a request"),
        (b"[" * 5000 + b"\n", "not a request"),
        (b'{"request": {"command": "status"}}\n', "missing required field `version`"),
        (b'{"version": 2, "request": {"command": "new"}}\n', "version 1 is spoken here"),
        (b'{"version": 1, "request": {"command": "explode"}}\n', "Invalid value 'explode'"),
        (b'{"version": 1, "request": {"command": "show"}}\n', "missing required field `image`"),
        (b'{"version": 1, "request": {"command": "gc", "all": 1}}\n', "unknown field `all`"),
        (b'{"version": 1, "request": {"command": "show", "image": "a\\nb"}}\n', "regex"),
        (b'{"version": 1, "request": {"command": "show", "image": "a\\n"}}\n', "regex"),
        (b'{"version": 1, "request": {"command": "show", "image": ""}}\n', "regex"),
    ],
)
async def test_what_is_no_request_is_refused(ask: AdminClient, line: bytes, said: str) -> None:
    await ask.say(line)
    error = await ask.error()
    assert error.code == "protocol"
    assert said in error.message


async def test_a_token_in_a_bad_request_is_not_repeated(ask: AdminClient) -> None:
    bad = {"command": "prefetch", "images": ["i"], "token": "s3cret\r\nX-Evil: 1"}
    await ask.say(json.dumps({"version": 1, "request": bad}).encode() + b"\n")
    assert "s3cret" not in (await ask.error()).message


async def test_a_line_that_is_too_long_is_refused(
    case: AdminCase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "REQUEST_BYTES_MAX", 1000)
    async with serving(case, path) as server, client(path) as ask:
        await ask.say(b"x" * 5000)
        error = await ask.error()
        assert (error.code, error.message) == ("protocol", "a request of more than 1000 bytes")
        await calm(server)


async def test_too_many_images_are_refused(ask: AdminClient) -> None:
    await ask.ask(requests.Evict(images=["i"] * (requests.IMAGES_MAX + 1)))
    assert (await ask.error()).code == "protocol"


async def test_who_leaves_before_asking_is_no_news(
    server: AdminServer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with client(path):
        pass
    async with client(path) as ask:
        await ask.say(b'{"version": 1, "requ')
    async with client(path) as ask:
        await ask.ask(requests.Status())
        await ask.result()
    await calm(server)
    assert caplog.text == ""


async def test_who_asks_nothing_is_cut_off(
    server: AdminServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "REQUEST_SECONDS", 0)
    async with client(path) as ask:
        assert await ask.event() is None
    await calm(server)


async def test_who_leaves_takes_the_request_back(
    case: AdminCase, server: AdminServer, path: Path
) -> None:
    image = case.add(1, 2, 3)
    hold = image.hold_at(CHUNK)
    async with client(path) as ask:
        await ask.ask(requests.Prefetch(images=[image.id], token="t"))
        await hold.reached.wait()
        (fill,) = case.flights.in_progress()
        assert fill.readers == 1
    await calm(server)
    assert fill.readers == 0
    hold.release.set()
    await case.idle()
    assert case.store.survey.figures().reserved == 0


async def test_who_leaves_a_verification_ends_it(
    case: AdminCase, server: AdminServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def verify(*_: object) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(case.operations, "verify", verify)
    async with client(path) as ask:
        await ask.ask(requests.Verify(images=[]))
        await began.wait()
    await ended.wait()
    await calm(server)


async def test_who_does_not_read_is_cut_off_and_holds_nobody_up(
    case: AdminCase, server: AdminServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ImageRow(
        image="i" * 200,
        size_bytes=1,
        cached_bytes=1,
        knowledge="proven",
        pinned=False,
        filling=False,
    )
    stuck, ended = asyncio.Event(), asyncio.Event()

    async def rows() -> AsyncGenerator[list[ImageRow]]:
        try:
            while True:
                yield [row] * 100
                if server._clients and not stuck.is_set():
                    stuck.set()
        finally:
            ended.set()

    monkeypatch.setattr(case.inspection, "rows", rows)
    monkeypatch.setattr(admin, "ANSWER_SECONDS", 0.01)
    async with client(path) as slow:
        slow._reader._transport.pause_reading()  # type: ignore[attr-defined]  # what a slow program does
        await slow.ask(requests.List())
        await stuck.wait()
        async with client(path) as other:
            await other.ask(requests.Status())
            assert await other.result()
        await ended.wait()
        await calm(server)


async def test_who_leaves_in_the_middle_of_a_list_ends_it(
    case: AdminCase,
    server: AdminServer,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    ended = asyncio.Event()

    async def rows() -> AsyncGenerator[list[ImageRow]]:
        try:
            while True:
                yield []
                await asyncio.sleep(0)
        finally:
            ended.set()

    monkeypatch.setattr(case.inspection, "rows", rows)
    async with client(path) as ask:
        await ask.ask(requests.List())
        await ask.event()  # the rest is left unread: a reset
    await ended.wait()
    await calm(server)
    assert "Traceback" not in caplog.text


async def test_progress_is_left_out_while_a_client_does_not_read(
    case: AdminCase, server: AdminServer
) -> None:
    class Full:
        def is_closing(self) -> bool:
            return False

        def get_write_buffer_size(self) -> int:
            return 1

    class Writer:
        transport = Full()

        def write(self, data: bytes) -> None:
            raise AssertionError(data)

    slow = admin.Client(asyncio.StreamReader(), Writer(), case.operations)  # type: ignore[arg-type]  # as much of one as is used
    slow._watch.look = lambda: pytest.fail("nobody takes it")
    slow._show_progress()
    assert server.listening.is_set()


async def test_more_clients_than_it_serves_are_told_so(
    case: AdminCase, server: AdminServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "CLIENTS_MAX", 1)
    image = case.add(1, 2)
    hold = image.hold_at(CHUNK)
    async with client(path) as first, client(path) as second:
        await first.ask(requests.Prefetch(images=[image.id], token="t"))
        await hold.reached.wait()
        assert (await second.error()).code == "busy"
        hold.release.set()
        assert await first.result()
    await calm(server)


async def test_its_end_ends_what_was_asked(case: AdminCase, path: Path) -> None:
    image = case.add(1, 2)
    hold = image.hold_at(CHUNK)
    async with serving(case, path) as server, client(path) as ask:
        await ask.ask(requests.Prefetch(images=[image.id], token="t"))
        await hold.reached.wait()
        (fill,) = case.flights.in_progress()
        await server.close()
        assert fill.readers == 0
        assert not server._clients
    assert removed(path)


async def test_its_end_does_not_wait_for_a_client_that_does_not_read(
    case: AdminCase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = asyncio.Event()

    async def say(client: admin.Client, event: wire.AnyEvent) -> None:
        client._writer.write(wire.encode(event) + b" " * (8 << 20))
        stuck.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(admin.Client, "_say", say)
    async with serving(case, path) as server, client(path) as slow:
        slow._reader._transport.pause_reading()  # type: ignore[attr-defined]  # what a slow program does
        await slow.ask(requests.Status())
        await stuck.wait()
        await server.close()
        assert not server._clients


# --- the socket -----------------------------------------------------------------------------------


async def test_a_socket_that_was_removed_is_made_again(
    case: AdminCase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "LOOK_SECONDS", 0)
    async with serving(case, path) as server:
        gone = asyncio.Event()
        monkeypatch.setattr(server.listening, "clear", gone.set)
        os.unlink(path)  # noqa: PTH108  a test may block
        await gone.wait()
        monkeypatch.undo()
        server.listening.clear()
        await server.listening.wait()
        async with client(path) as ask:
            await ask.ask(requests.Status())
            assert await ask.result()


async def test_a_socket_that_cannot_be_made_is_told_once_and_made_later(
    case: AdminCase,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(admin, "LOOK_SECONDS", 0)
    plain, refusals = AdminSocket.listen, 0

    def listen(path: Path) -> AdminSocket:
        nonlocal refusals
        refusals += 1
        if refusals <= 3:
            raise AdminSocketError("no room for a socket")
        return plain(path)

    monkeypatch.setattr(AdminSocket, "listen", listen)
    async with serving(case, path):
        assert caplog.text.count("no admin commands: no room for a socket") == 1
        monkeypatch.setattr(admin, "LOOK_SECONDS", 30)


async def test_it_can_be_closed_while_it_makes_its_socket(
    case: AdminCase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making, plain = asyncio.Event(), AdminSocket.listen
    loop = asyncio.get_running_loop()

    def listen(path: Path) -> AdminSocket:
        loop.call_soon_threadsafe(making.set)
        return plain(path)

    monkeypatch.setattr(AdminSocket, "listen", listen)
    server = AdminServer(path, case.operations)
    server.start()
    await making.wait()
    await server.close()
    assert removed(path)
