"""The same bytes to the fast lane and to plain aiohttp: the same meaning, or the same refusal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fuzz.conversation import Conversation
from fuzz.lanes import Lanes
from fuzz.requests import HOST, conversations

SOME = 800  # conversations of the usual run, about 4,000 requests
MANY = 44_000  # of the long one
MANY_REQUESTS = 200_000  # in these
SHARE_MIN = 0.3  # of the requests for image data, that the fast lane has to have answered

# Explaining a failure looks at files, which nobody may on a loop.
thorough = settings(
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)


@pytest.fixture
async def lanes(tmp_path: Path) -> AsyncIterator[Lanes]:
    made = Lanes(tmp_path)
    yield made
    made.close()


@pytest.fixture
def much_was_fast(lanes: Lanes) -> Iterator[None]:
    """See that both lanes were tried."""
    yield
    assert lanes.fast_requests > SHARE_MIN * lanes.file_requests


@pytest.fixture
def many_were_sent(lanes: Lanes) -> Iterator[None]:
    """See that it was as much as it is said to be."""
    yield
    assert lanes.requests >= MANY_REQUESTS


@pytest.mark.usefixtures("much_was_fast")
@settings(thorough, max_examples=SOME)
@given(conversation=conversations())
async def test_both_lanes_mean_the_same(lanes: Lanes, conversation: Conversation) -> None:
    await lanes.try_one(conversation)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("much_was_fast", "many_were_sent")
@settings(thorough, max_examples=MANY)
@given(conversation=conversations())
async def test_both_lanes_mean_the_same_for_long(lanes: Lanes, conversation: Conversation) -> None:
    await lanes.try_one(conversation)


# --- what has been used to smuggle requests, cut at every byte ---------------------------------------

TOKEN = b"X-Auth-Token: member"
LINE = b"GET /v2/images/small/file HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"


def lines(*each: bytes, end: bytes = b"\r\n") -> bytes:
    """Write a head."""
    return end.join((*each, b"", b""))


PLAIN = lines(LINE, HOST, TOKEN)
SMUGGLED = lines(b"GET /v2/images/refused/file HTTP/1.1", HOST)
SEEDS = {
    "plain": PLAIN,
    "two in a row": PLAIN + PLAIN,
    "a range behind a whole": PLAIN + lines(LINE, HOST, TOKEN, b"Range: bytes=5-9"),
    "an odd one behind": PLAIN + lines(b"GET /v2/images/small/file? HTTP/1.1", HOST, TOKEN),
    "two lengths": lines(LINE, HOST, TOKEN, b"Content-Length: 0", b"Content-Length: 0"),
    "lengths that differ": lines(LINE, HOST, TOKEN, b"Content-Length: 0", b"Content-Length: 9"),
    "a list of lengths": lines(LINE, HOST, TOKEN, b"Content-Length: 3, 3") + b"abc" + PLAIN,
    "a length with a sign": lines(LINE, HOST, TOKEN, b"Content-Length: +3") + b"abc" + PLAIN,
    "a body behind GET": lines(LINE, HOST, TOKEN, b"Content-Length: 5") + b"GET /" + PLAIN,
    "a request for a body": lines(LINE, HOST, TOKEN, b"Content-Length: 9") + SMUGGLED,
    "a length without a body": lines(LINE, HOST, TOKEN, b"Content-Length: 80") + PLAIN,
    "length and chunked": lines(LINE, HOST, TOKEN, b"Content-Length: 5", CHUNKED) + b"0\r\n\r\n",
    "chunked and length": lines(LINE, CHUNKED, HOST, TOKEN, b"Content-Length: 5") + b"0\r\n\r\n",
    "chunked": lines(LINE, HOST, TOKEN, CHUNKED) + b"3\r\nabc\r\n0\r\n\r\n" + PLAIN,
    "chunked, with bare ends": lines(LINE, HOST, TOKEN, CHUNKED) + b"3\nabc\n0\n\n" + PLAIN,
    "chunked, hidden": lines(LINE, HOST, TOKEN, b"Transfer-Encoding:\x0bchunked") + b"0\r\n\r\n",
    "chunked, folded": lines(LINE, HOST, TOKEN, b"Transfer-Encoding:", b" chunked") + SMUGGLED,
    "not quite chunked": lines(LINE, HOST, TOKEN, b"Transfer-Encoding: xchunked") + SMUGGLED,
    "a field that is folded": lines(LINE, HOST, TOKEN, b"X: a", b" Content-Length: 5") + SMUGGLED,
    "bare ends of lines": lines(LINE, HOST, TOKEN, end=b"\n") + PLAIN,
    "one bare end": LINE + b"\n" + lines(HOST, TOKEN) + PLAIN,
    "a bare end in a value": lines(LINE, HOST, TOKEN, b"X: a\nContent-Length: 5") + SMUGGLED,
    "a bare return": lines(LINE, HOST, TOKEN, b"X: a\rContent-Length: 5") + SMUGGLED,
    "a space before the colon": lines(LINE, HOST, TOKEN, b"Content-Length : 5") + SMUGGLED,
    "a NUL": lines(LINE, HOST, TOKEN, b"X: \x00"),
    "absolute": lines(b"GET http://x/v2/images/small/file HTTP/1.1", HOST, TOKEN),
    "absolute, to another": lines(b"GET http://x/v2/images/refused/file HTTP/1.1", HOST, TOKEN),
    "encoded": lines(b"GET /v2/images/%73mall/file HTTP/1.1", HOST, TOKEN),
    "dots": lines(b"GET /v2/images/x/../small/file HTTP/1.1", HOST, TOKEN),
    "two hosts": lines(LINE, HOST, HOST, TOKEN),
    "two tokens": lines(LINE, HOST, TOKEN, b"x-auth-token: another"),
    "two ranges": lines(LINE, HOST, TOKEN, b"Range: bytes=0-0", b"Range: bytes=1-1"),
    "a range that Connection names": lines(LINE, HOST, b"Connection: range", b"Range: bytes=0-0"),
    "a token that Connection names": lines(LINE, HOST, TOKEN, b"Connection: x-auth-token"),
    "an upgrade": lines(LINE, HOST, TOKEN, b"Connection: upgrade", b"Upgrade: websocket")
    + SMUGGLED,
    "an expectation": lines(LINE, HOST, TOKEN, b"Expect: 100-continue", b"Content-Length: 3")
    + b"abc",
    "HTTP/1.0": lines(b"GET /v2/images/small/file HTTP/1.0", HOST, TOKEN) + PLAIN,
    "empty lines before": b"\r\n\r\n" + PLAIN,
    "more behind": PLAIN + b"G",
    "an end behind": PLAIN + b"\r\n",
}
SEED_STEP = 11  # of the usual run: a cut every so many bytes


async def cut_everywhere(lanes: Lanes, seed: bytes, step: int) -> None:
    """Send it in two pieces, and an ordinary request behind it."""
    for at in range(0, len(seed), step):
        parts = (seed[:at], seed[at:]) if at else (seed,)
        await lanes.try_one(Conversation((TOKEN,), ((*parts, PLAIN),)))


@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
async def test_a_seed(lanes: Lanes, seed: bytes) -> None:
    await cut_everywhere(lanes, seed, 1 if seed in {PLAIN, PLAIN + PLAIN} else SEED_STEP)


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
async def test_a_seed_cut_at_every_byte(lanes: Lanes, seed: bytes) -> None:
    await cut_everywhere(lanes, seed, 1)
