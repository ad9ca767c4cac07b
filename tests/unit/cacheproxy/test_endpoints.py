"""Several URLs of one upstream: who is asked, who is asked instead, and who is left alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from cacheproxy import connections
from cacheproxy import endpoints as module
from cacheproxy.config import UpstreamSettings
from cacheproxy.connections import (
    UpstreamDownError,
    UpstreamNotReachedError,
    UpstreamSilentError,
)
from cacheproxy.core import circuit
from cacheproxy.core.circuit import FAILURES_MAX
from cacheproxy.endpoint import QUESTION
from cacheproxy.errors import UpstreamUnreachableError
from cacheproxy.kinds import UPSTREAM_URLS_MAX
from cacheproxy.meter import Board
from cacheproxy.metrics import (
    EQUATIONS,
    UPSTREAM_DOWN,
    UPSTREAM_FAILOVERS,
    UPSTREAM_FAILURES,
    UPSTREAM_OPENINGS,
    UPSTREAM_UNUSED,
    UPSTREAMS,
)
from cacheproxy.upstream import Upstream
from harness.raw_origin import Peer, RawOrigin, Script, always, listener, raw_origin

IMAGE = "/v2/images/0b8a4b6e-0000-4000-8000-000000000001"
WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell"
REFUSALS = {
    status: f"HTTP/1.1 {status} No\r\nContent-Length: 3\r\n\r\n{status}".encode()
    for status in (500, 502, 503, 504)
}


@dataclass
class Several:
    """A client of several scripted URLs, and what was counted."""

    client: Upstream
    origins: list[RawOrigin]
    board: Board

    async def ask(
        self, method: str = "GET", body: AsyncGenerator[bytes] | None = None
    ) -> tuple[int, bytes]:
        async with self.client.exchange(method, IMAGE, [], body) as answer:
            text = b""
            while piece := await answer.piece():
                text += piece
            return answer.status, text

    def asked(self, place: int) -> list[str]:
        """Return the methods of the requests to one of them, without the questions."""
        return [r.method for r in self.origins[place].heads if r.target != QUESTION]

    @property
    def unused(self) -> list[int]:
        """How far each is not used."""
        return [
            int(self.board.total(UPSTREAM_UNUSED, (str(n + 1),))) for n in range(len(self.origins))
        ]


@asynccontextmanager
async def asking(
    *scripts: Script | None, seconds: float = 60.0, connect_seconds: float = 5.0
) -> AsyncIterator[Several]:
    """Ask scripts, the first one preferred; None: nobody is there.  Without a leak at the end."""
    board = Board.create(1)
    async with AsyncExitStack() as stack:
        origins = []
        for script in scripts:
            origin = await stack.enter_async_context(raw_origin(script or always(b"")))
            if script is None:
                with listener() as sock:
                    origin.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            origins.append(origin)
        settings = UpstreamSettings(
            ", ".join(origin.url for origin in origins),
            read_timeout_seconds=seconds,
            failover_seconds=seconds,
            connect_timeout_seconds=connect_seconds,
            change_timeout_seconds=seconds,
        )
        client = Upstream(settings, board.meter(0))
        try:
            yield Several(client, origins, board)
        finally:
            await client.close()
        left = {task.get_name() for task in asyncio.all_tasks() if "look at" in task.get_name()}
        assert not left
    assert all(each.holds(board.total) for each in EQUATIONS)


async def pieces(*given: bytes) -> AsyncGenerator[bytes]:
    for piece in given:
        yield piece


async def cut(peer: Peer) -> None:
    """Take a request and reset the connection."""
    await peer.request()
    peer.reset()


async def silent(peer: Peer) -> None:
    """Take all requests and answer none."""
    await peer.head()
    await peer.closed_by_peer()


async def test_the_first_one_is_asked() -> None:
    async with asking(always(WELL), always(WELL)) as told:
        for method in ("GET", "PUT", "GET", "DELETE"):
            assert await told.ask(method) == (200, b"well")
        assert told.asked(0) == ["GET", "PUT", "GET", "DELETE"]
        assert told.asked(1) == []
        assert told.board.total(UPSTREAM_FAILOVERS) == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"])
async def test_what_was_not_sent_goes_to_the_next_one(method: str) -> None:
    body = pieces(b"ab", b"cd") if method in {"PUT", "POST", "PATCH"} else None
    script = always(WELL if method != "HEAD" else WELL[: -len("well")])
    async with asking(None, None, script) as told:
        assert (await told.ask(method, body))[0] == 200
        assert told.asked(2) == [method]
        if body is not None:
            assert told.origins[2].requests[0].body == b"abcd"
        assert told.board.total(UPSTREAM_FAILOVERS) == 2


@pytest.mark.parametrize("script", [cut, silent])
async def test_a_reading_request_without_an_answer_goes_to_the_next_one(script: Script) -> None:
    async with asking(script, always(WELL), seconds=0.1) as told:
        assert await told.ask() == (200, b"well")
        assert len(told.asked(0)) <= 2  # a connection may have been stale: aiohttp makes sure
        assert told.asked(1) == ["GET"]


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("script", [cut, silent])
async def test_a_change_that_was_sent_is_never_sent_again(script: Script, method: str) -> None:
    async with asking(script, always(WELL), seconds=0.1) as told:
        with pytest.raises(UpstreamUnreachableError) as caught:
            await told.ask(method)
        assert not isinstance(caught.value, UpstreamNotReachedError)
        assert (told.asked(0), told.asked(1)) == ([method], [])


async def test_an_upload_of_which_a_byte_was_taken_is_not_sent_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(1)
        peer.reset()

    async with asking(script, always(WELL)) as told:
        with pytest.raises(UpstreamUnreachableError):
            await told.ask("PUT", pieces(b"a" * 65536, b"b"))
        with pytest.raises(UpstreamUnreachableError):
            await told.ask("GET", pieces(b"a" * 65536, b"b"))
        assert told.asked(1) == []


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_gateway_without_a_glance_is_gone_round(status: int) -> None:
    async with asking(always(REFUSALS[status]), always(WELL)) as told:
        for _ in range(FAILURES_MAX):
            assert await told.ask() == (200, b"well")
        # What is changed is not sent there any more, either.
        assert await told.ask("PUT") == (200, b"well")
        assert told.asked(0) == ["GET"] * FAILURES_MAX
        assert told.unused == [1, 0]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("others", [0, 1])
async def test_what_nobody_answers_better_is_relayed(status: int, others: int) -> None:
    scripts = [always(REFUSALS[status]) for _ in range(1 + others)]
    async with asking(*scripts) as told:
        for _ in range(2 * FAILURES_MAX):
            assert await told.ask() == (status, str(status).encode())
            assert await told.ask("PUT") == (status, str(status).encode())
        assert told.unused == [0] * (1 + others)
        asked = ["GET", "PUT"] * 2 * FAILURES_MAX
        assert told.asked(0) == asked
        assert told.asked(1) == ["GET"] * 2 * FAILURES_MAX if others and status != 500 else True


async def test_a_refusal_is_relayed_where_the_others_are_away() -> None:
    async with asking(always(REFUSALS[503]), None, None) as told:
        assert await told.ask() == (503, b"503")


async def test_one_that_fails_is_left_alone_and_used_again_once_it_is_well() -> None:
    well = False

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            if not well:
                return
            await peer.send(WELL)

    async with asking(script, always(WELL)) as told:
        for _ in range(FAILURES_MAX):
            assert await told.ask() == (200, b"well")
        asked = len(told.asked(0))
        assert told.unused == [1, 0]
        for _ in range(10):
            assert await told.ask() == (200, b"well")
        assert len(told.asked(0)) == asked
        well = True
        while told.unused != [0, 0]:
            assert await told.ask() == (200, b"well")
        assert await told.ask() == (200, b"well")
        assert len(told.asked(0)) == asked + 1
        assert told.board.total(UPSTREAM_OPENINGS, ("1",)) == 1


async def test_while_all_are_down_a_request_fails_at_once_and_says_when_to_ask_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "cacheproxy.endpoint"):
        async with asking(None, None) as told:
            for _ in range(FAILURES_MAX):
                with pytest.raises(UpstreamNotReachedError):
                    await told.ask()
            with pytest.raises(UpstreamDownError) as caught:
                await told.ask()
            assert 0 <= caught.value.retry_seconds <= 5
            assert await told.client.may_download("x", []) is None
            assert told.board.total(UPSTREAM_DOWN) == 2
            assert told.board.total(UPSTREAM_FAILURES) == 2 * FAILURES_MAX
    assert (
        len([text for text in caplog.messages if "is not used for now: cannot connect" in text])
        == 2
    )


async def test_an_upstream_that_is_back_costs_nobody_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    back = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.head()
            if request.target == IMAGE and not back.is_set():
                await peer.closed_by_peer()
                return
            await back.wait()
            await peer.send(WELL)

    with caplog.at_level(logging.INFO, "cacheproxy.endpoint"):
        async with asking(script, seconds=0.1) as told:
            with pytest.raises(UpstreamSilentError):
                await told.ask()
            assert told.unused == [1]
            back.set()
            # Its first question is asked at once, and whoever comes meanwhile waits for it.
            assert await told.ask() == (200, b"well")
            assert told.unused == [0]
    assert any("is used again" in text for text in caplog.messages)


async def test_who_has_nobody_else_to_ask_does_not_wait_for_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(circuit, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(circuit, "PAUSE_SECONDS_MAX", 3600.0)
    well = False

    async def script(peer: Peer) -> None:
        await peer.request()
        if well:
            await peer.send(WELL)

    async with asking(script) as told:
        told.client._endpoints._all[0].circuit._pause = 3600.0  # as after many questions in vain
        for _ in range(FAILURES_MAX):
            with pytest.raises(UpstreamUnreachableError):
                await told.ask()
        with pytest.raises(UpstreamDownError):
            await told.ask()
        well = True
        assert await told.ask() == (200, b"well")


async def test_silence_is_settled_by_one_question() -> None:
    slow = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.head()
            if request.target == IMAGE and not slow.is_set():
                slow.set()
                await peer.closed_by_peer()
                return
            await peer.send(WELL)

    async with asking(script, seconds=0.1) as told:
        with pytest.raises(UpstreamSilentError):
            await told.ask()
        # One slow image does not cut off who asks for another.
        assert await told.ask() == (200, b"well")
        assert told.board.total(UPSTREAM_OPENINGS, ("1",)) == 1
        assert told.board.total(UPSTREAM_DOWN) == 0


async def test_an_upstream_that_is_frozen_fails_at_once_after_its_first_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.01)
    async with asking(silent, seconds=0.1) as told:
        with pytest.raises(UpstreamSilentError):
            await told.ask()
        for _ in range(10):
            with pytest.raises(UpstreamDownError):
                await told.ask()
            with pytest.raises(UpstreamDownError):
                await told.ask("PUT", pieces(b"never asked for"))
        assert len(told.asked(0)) == 1
        assert told.unused == [1]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_who_sends_what_the_upstream_hangs_up_on_cuts_off_nobody_else(method: str) -> None:
    """As uWSGI does, without an answer, where the head is longer than its buffer."""

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if request.method == method and request.target == IMAGE:
                peer.reset()
                return
            await peer.send(WELL)

    async with asking(script) as told:
        for _ in range(10):
            for _ in range(2 * FAILURES_MAX):
                with pytest.raises(UpstreamUnreachableError) as caught:
                    await told.ask(method)
                assert not isinstance(caught.value, UpstreamNotReachedError)
            assert await told.ask("OPTIONS") == (200, b"well")
        assert told.unused == [0]
        assert told.board.total(UPSTREAM_OPENINGS, ("1",)) == 0


async def test_uploads_in_progress_do_not_keep_the_question_from_being_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "CHANGING_CONNECTIONS_MAX", 1)
    taken, finish = asyncio.Event(), asyncio.Event()
    slow = False

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.head()
            if request.method == "PUT":
                taken.set()
                await finish.wait()
                await peer.send(WELL)
                return
            if request.target == IMAGE and slow:
                return
            await peer.send(WELL)

    async with asking(script) as told:
        upload = asyncio.create_task(told.ask("PUT", pieces(b"x")))
        await taken.wait()
        slow = True
        with pytest.raises(UpstreamUnreachableError):
            await told.ask()
        slow = False
        assert await told.ask() == (200, b"well")
        await asyncio.gather(*(t for t in asyncio.all_tasks() if "look at" in t.get_name()))
        assert told.unused == [0]
        finish.set()
        assert (await upload)[0] == 200


async def test_downloads_in_progress_are_not_held_against_the_upstream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who waits for his turn in vain has found no connection; there are none left, not no upstream."""
    monkeypatch.setattr(connections, "READING_CONNECTIONS_MAX", 1)
    begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if request.target == IMAGE and request.method == "GET":
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwe")
                begun.set()
                await peer.closed_by_peer()
                return
            await peer.send(WELL)

    async with asking(script, connect_seconds=0.1) as told:
        download = asyncio.create_task(told.ask())
        await begun.wait()
        for _ in range(2 * FAILURES_MAX):
            with pytest.raises(UpstreamNotReachedError) as caught:
                await told.ask("HEAD")
            assert not isinstance(caught.value, UpstreamDownError)
        assert await told.ask("PUT", pieces(b"x")) == (200, b"well")
        assert told.board.total(UPSTREAM_OPENINGS, ("1",)) == 0
        download.cancel()
        await asyncio.wait([download])


async def test_a_head_that_trickles_has_a_deadline() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        gone = asyncio.create_task(peer.closed_by_peer())
        while not gone.done():
            await peer.send(b"X-More: and more\r\n")
            await asyncio.wait([gone], timeout=0.01)

    async with asking(script, always(WELL), seconds=0.1) as told:
        assert await told.ask() == (200, b"well")


async def test_a_clients_own_failure_is_not_the_upstreams() -> None:
    async def broken() -> AsyncGenerator[bytes]:
        yield b"some"
        raise RuntimeError("the client left")

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.closed_by_peer()

    async with asking(script) as told:
        for _ in range(2 * FAILURES_MAX):
            with pytest.raises(UpstreamUnreachableError):
                await told.ask("PUT", broken())
        assert told.board.total(UPSTREAM_FAILURES) == 0
        assert told.unused == [0]


async def test_the_names_of_no_credential_are_shown() -> None:
    client = Upstream(
        UpstreamSettings("http://me:secret@a.example, https://b.example/image"),
        Board.create(1).meter(0),
    )
    await client.close()
    assert repr(client) == "Upstream(http://a.example closed, https://b.example/image closed)"


def test_each_url_has_a_label() -> None:
    assert len(UPSTREAMS) == UPSTREAM_URLS_MAX
