"""S3 servers that fail in the middle of a write, or lose the answer to its last request."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

import backends.s3.object
from backends.errors import (
    DeniedError,
    DuplicateError,
    InvalidError,
    MissingError,
    NoSpaceError,
    StoreError,
    ThrottledError,
    UnavailableError,
)
from contracts.answers import CONTENT
from contracts.s3 import IN_PARTS, SECRET, image, opened
from contracts.s3_script import (
    CUT,
    NOT_FOUND,
    WELL,
    Answer,
    ScriptedS3,
    found,
    refusal,
    reply,
    scripted_s3,
    xml,
)
from contracts.subject import PIECE, pattern, write

SLOW_DOWN = refusal("503 Slow Down", "SlowDown")
INTERNAL = refusal("500 Internal Server Error", "InternalError")
LATE_ERROR = reply("200 OK", xml("Error", Code="InternalError", Message="m"))
LOST = (CUT,) * 8  # more than are tried


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.s3.object, "FIRST_PAUSE_SECONDS", 0.0)


async def test_a_bucket_that_is_not_there() -> None:
    async with scripted_s3({"head bucket": [NOT_FOUND] * 2}) as server:
        async with opened(server.url, create_bucket=False) as store:
            with pytest.raises(MissingError, match="bucket images"):
                await write(store, "image", b"x")
            assert server.asked == {"head bucket": 1}
        async with opened(server.url, region="eu-north-1") as store:
            await write(store, "image", b"x")
            assert server.asked["make bucket"] == 1
            made = next(each for each in server.requests if each.target == "/images" and each.body)
            assert b"<LocationConstraint>eu-north-1<" in made.body
            await write(store, "image", b"x")
            assert server.asked["head bucket"] == 2


async def test_a_bucket_that_went_is_made_again() -> None:
    script = {
        "put": [refusal("404 Not Found", "NoSuchBucket")],
        "head bucket": [reply("200 OK"), NOT_FOUND],
    }
    async with scripted_s3(script) as server, opened(server.url) as store:
        with pytest.raises(MissingError):
            await write(store, "image", b"x")
        await write(store, "image", b"x")
        assert server.asked["make bucket"] == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [("BucketAlreadyOwnedByYou", None), ("BucketAlreadyExists", DeniedError)],
)
async def test_somebody_else_made_the_bucket(code: str, expected: type[StoreError] | None) -> None:
    script = {"head bucket": [NOT_FOUND], "make bucket": [refusal("409 Conflict", code)]}
    async with scripted_s3(script) as server, opened(server.url) as store:
        if expected is None:
            await write(store, "image", b"x")
        else:
            with pytest.raises(expected):
                await write(store, "image", b"x")


class TestOneRequest:
    async def test_says_what_it_sends(self) -> None:
        async with scripted_s3() as server, opened(server.url) as store:
            await write(store, "image", CONTENT)
            sent = server.requests[-1]
            assert sent.body == CONTENT
            assert sent.one("x-amz-content-sha256") == hashlib.sha256(CONTENT).hexdigest()
            assert sent.one("if-none-match") == "*"
            assert sent.one("expect") is None
            assert "x-amz-content-sha256" in (sent.one("authorization") or "")

    async def test_a_server_that_knows_no_conditions(self) -> None:
        unknown = refusal("501 Not Implemented", "NotImplemented")
        async with scripted_s3({"put": [unknown]}) as server, opened(server.url) as store:
            await write(store, "image", CONTENT)
            first, second = [each for each in server.requests if each.method == "PUT"]
            assert first.one("if-none-match") == "*"
            assert second.one("if-none-match") is None

    async def test_somebody_was_faster(self) -> None:
        faster = refusal("412 Precondition Failed", "PreconditionFailed")
        script: dict[str, list[Answer]] = {
            "put": [faster],
            "head": [NOT_FOUND, NOT_FOUND, found("theirs"), found("theirs")],
        }
        async with scripted_s3(script) as server, opened(server.url) as store:
            with pytest.raises(DuplicateError):
                await write(store, "image", CONTENT)
            assert server.asked["delete"] == 0

    @pytest.mark.parametrize("answers", [LOST, (CUT, refusal("412 No", "PreconditionFailed"))])
    async def test_the_answer_was_lost_but_it_is_there(self, answers: tuple[bytes, ...]) -> None:
        script: dict[str, list[Answer]] = {
            "put": list(answers),
            "head": [NOT_FOUND, NOT_FOUND, lambda server: found(server.mark)],
        }
        async with scripted_s3(script) as server, opened(server.url) as store:
            assert await write(store, "image", CONTENT) == image(store)
            assert server.asked["delete"] == 0

    async def test_the_answer_was_lost_and_it_came_later(self) -> None:
        script: dict[str, list[Answer]] = {
            "put": list(LOST),
            "head": [NOT_FOUND] * 3 + [lambda server: found(server.mark)],
        }
        async with scripted_s3(script) as server, opened(server.url) as store:
            with pytest.raises(UnavailableError):
                await write(store, "image", CONTENT)
            assert server.asked["delete"] == 1


class TestInParts:
    CONTENT = pattern(3 * PIECE + 1)

    async def test_what_passes_is_tried_again(self) -> None:
        script: dict[str, list[Answer]] = {
            "part": [INTERNAL, CUT, SLOW_DOWN],
            "complete": [LATE_ERROR, CUT, reply("200 OK", xml("CompleteMultipartUploadResult"))],
        }
        async with scripted_s3(script) as server, opened(server.url, **IN_PARTS) as store:
            await write(store, "image", self.CONTENT)
            parts = {
                each.target: each.body for each in server.requests if "partNumber" in each.target
            }
            assert b"".join(parts[target] for target in sorted(parts)) == self.CONTENT
            assert server.asked["abort"] == server.asked["delete"] == 0

    @pytest.mark.parametrize(
        ("kind", "data", "expected"),
        [
            ("part", INTERNAL, UnavailableError),
            ("part", refusal("403 Forbidden", "QuotaExceeded"), NoSpaceError),
            ("part", refusal("400 Bad Request", "BadDigest"), InvalidError),
            ("complete", LATE_ERROR, UnavailableError),
            ("complete", refusal("400 Bad Request", "InvalidPart"), InvalidError),
            ("complete", refusal("412 No", "PreconditionFailed"), DuplicateError),
        ],
    )
    async def test_failures_end_the_upload(
        self, kind: str, data: bytes, expected: type[StoreError]
    ) -> None:
        async with scripted_s3({kind: [data] * 40}) as server:
            async with opened(server.url, **IN_PARTS) as store:
                with pytest.raises(expected) as raised:
                    await write(store, "image", self.CONTENT)
                assert type(raised.value) is expected
            assert server.asked["abort"] == 1
            assert server.asked["delete"] == 0

    async def test_no_more_parts_at_once_than_may_be(self) -> None:
        both = asyncio.Event()
        now: list[int] = []  # how many were on their way when one came
        sending = 0

        async def part(_: ScriptedS3) -> bytes:
            nonlocal sending
            sending += 1
            now.append(sending)
            if sending == IN_PARTS["parts_at_once"]:
                both.set()
            await both.wait()
            sending -= 1
            return WELL["part"]

        async with (
            scripted_s3({"part": [part] * 6}) as server,
            opened(server.url, **IN_PARTS) as store,
            store.create("image") as writer,
        ):
            await writer.write(pattern(6 * PIECE))
            await writer.commit()
        assert len(now) == 6
        assert max(now) == IN_PARTS["parts_at_once"]

    async def test_a_beginning_that_fails_leaves_nothing_to_end(self) -> None:
        async with scripted_s3({"begin": [INTERNAL]}) as server:
            async with opened(server.url, **IN_PARTS) as store:
                with pytest.raises(UnavailableError):
                    await write(store, "image", self.CONTENT)
            assert server.asked["begin"] == 1
            assert server.asked["abort"] == 0

    async def test_the_answer_was_lost_but_it_is_complete(self) -> None:
        script: dict[str, list[Answer]] = {
            "complete": [CUT, refusal("404 Not Found", "NoSuchUpload")],
            "head": [NOT_FOUND, NOT_FOUND, lambda server: found(server.mark)],
        }
        async with scripted_s3(script) as server, opened(server.url, **IN_PARTS) as store:
            assert await write(store, "image", self.CONTENT) == image(store)
            assert server.asked["abort"] == server.asked["delete"] == 0

    async def test_an_abort_that_does_not_hold_is_said_again(self) -> None:
        script: dict[str, list[Answer]] = {
            "part": [refusal("403 Forbidden", "AccessDenied")] * 4,
            "abort": [reply("204 No Content"), INTERNAL],
        }
        async with scripted_s3(script) as server, opened(server.url, **IN_PARTS) as store:
            with pytest.raises(DeniedError):
                await write(store, "image", self.CONTENT)
            assert server.asked["abort"] == 3

    async def test_an_abort_that_fails_is_told(self) -> None:
        denied = refusal("403 Forbidden", "AccessDenied")
        script: dict[str, list[Answer]] = {"part": [SLOW_DOWN] * 40, "abort": [denied]}
        async with scripted_s3(script) as server, opened(server.url, **IN_PARTS) as store:
            with pytest.raises(DeniedError) as caught:
                await write(store, "image", self.CONTENT)
        assert isinstance(caught.value.__context__, ThrottledError)
        assert SECRET not in str(caught.value)
