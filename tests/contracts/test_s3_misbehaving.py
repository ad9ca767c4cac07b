"""S3 servers that refuse, break off, contradict themselves or lose their answers."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import backends.s3_object
from backends.errors import (
    DeniedError,
    DuplicateError,
    InvalidError,
    MissingError,
    NoSpaceError,
    StoreError,
    ThrottledError,
    UnavailableError,
    UnsupportedError,
)
from backends.location import Location
from backends.s3 import S3Store
from backends.spans import Span
from backends.wrapping import Retrying, wrap
from contracts.answers import CONTENT, answer, partial_content
from contracts.s3 import IN_PARTS, SECRET, opened
from contracts.s3_script import (
    CUT,
    NOT_FOUND,
    Answer,
    found,
    refusal,
    reply,
    scripted_s3,
    xml,
)
from contracts.subject import PIECE, pattern, read, write

SLOW_DOWN = refusal("503 Slow Down", "SlowDown")
INTERNAL = refusal("500 Internal Server Error", "InternalError")
LATE_ERROR = reply("200 OK", xml("Error", Code="InternalError", Message="m"))
LOST = (CUT,) * 8  # more than are tried


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.s3_object, "FIRST_PAUSE_SECONDS", 0.0)


def image(store: S3Store) -> Location:
    return Location(f"{store._endpoint.url.replace('http', 's3', 1)}/images/image")


CONTRADICTIONS: dict[str, tuple[Span | None, bytes, type[StoreError]]] = {
    "cut": (
        None,
        answer("200 OK", "Content-Length: 10", "Connection: close", body=b"0"),
        UnavailableError,
    ),
    "closed at once": (None, CUT, UnavailableError),
    "not HTTP": (None, b"SSH-2.0-OpenSSH_9.2\r\n\r\n", UnavailableError),
    "a cut range": (
        Span(2, 6),
        partial_content("bytes 2-5/10", b"23", "Content-Length: 4", "Connection: close"),
        UnavailableError,
    ),
    "another range": (
        Span(2, 6),
        partial_content("bytes 0-3/10", b"0123", "Content-Length: 4"),
        InvalidError,
    ),
    "another length": (
        Span(2, 6),
        partial_content("bytes 2-5/10", b"23456", "Content-Length: 5"),
        InvalidError,
    ),
    "a range that nobody wanted": (
        None,
        partial_content("bytes 0-4/10", b"01234", "Content-Length: 5"),
        InvalidError,
    ),
    "no range": (Span(2, 6), reply("206 Partial Content", b"2345"), InvalidError),
    "an error page": (None, reply("502 Bad Gateway", b"<html>no</html>"), UnavailableError),
    "an error without a body": (None, reply("503 Service Unavailable"), UnavailableError),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
async def test_contradictions(case: str) -> None:
    span, data, expected = CONTRADICTIONS[case]
    async with scripted_s3({"get": [data, data]}) as server, opened(server.url) as store:
        with pytest.raises(expected) as raised:
            await read(store, image(store), span)
        assert type(raised.value) is expected


async def test_a_server_without_ranges() -> None:
    async with (
        scripted_s3({"get": [reply("200 OK", CONTENT)]}) as server,
        opened(server.url) as store,
    ):
        assert await read(store, image(store), Span(2, 6)) == CONTENT[2:6]


async def test_a_range_that_is_refused() -> None:
    none = refusal("416 Range Not Satisfiable", "InvalidRange")
    script: dict[str, list[Answer]] = {"get": [none] * 3, "head": [found(size=0), found(), found()]}
    async with scripted_s3(script) as server, opened(server.url) as store:
        assert await read(store, image(store), Span.since(0)) == b""
        assert await read(store, image(store), Span(10, 12)) == b""
        with pytest.raises(InvalidError, match="has 10 bytes, but refuses"):
            await read(store, image(store), Span(9, 12))


async def test_silence() -> None:
    half = answer("200 OK", "Content-Length: 10", body=b"01234")
    async with (
        scripted_s3({"get": [half]}) as server,
        opened(server.url, stall_seconds=0.1) as store,
    ):
        with pytest.raises(UnavailableError, match="no answer in time"):
            await read(store, image(store))


@pytest.mark.parametrize(("second", "replaced"), [('"1"', False), ('"2"', True)])
async def test_what_was_replaced_meanwhile_is_not_read_on(second: str, replaced: bool) -> None:
    first = answer(
        "200 OK", "Content-Length: 10", 'ETag: "1"', "Connection: close", body=CONTENT[:5]
    )
    rest = partial_content("bytes 5-9/10", b"56789", f"ETag: {second}", "Content-Length: 5")
    async with scripted_s3({"get": [first, rest]}) as server, opened(server.url) as store:
        resuming = wrap(store, Retrying(2, 0.0, 0.0))
        if replaced:
            with pytest.raises(InvalidError, match="replaced"):
                await read(resuming, image(store))
        else:
            assert await read(resuming, image(store)) == CONTENT
        assert server.requests[-1].one("range") == "bytes=5-"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("404 Not Found", "NoSuchKey", MissingError),
        ("404 Not Found", "NoSuchBucket", MissingError),
        ("403 Forbidden", "AccessDenied", DeniedError),
        ("403 Forbidden", "SignatureDoesNotMatch", DeniedError),
        ("403 Forbidden", "InvalidAccessKeyId", DeniedError),
        ("400 Bad Request", "ExpiredToken", DeniedError),
        ("400 Bad Request", "AuthorizationHeaderMalformed", DeniedError),
        ("403 Forbidden", "QuotaExceeded", NoSpaceError),
        ("507 Insufficient Storage", "XMinioStorageFull", NoSpaceError),
        ("400 Bad Request", "EntityTooLarge", NoSpaceError),
        ("503 Slow Down", "SlowDown", ThrottledError),
        ("429 Too Many Requests", "TooManyRequests", ThrottledError),
        ("503 Service Unavailable", "ServiceUnavailable", UnavailableError),
        ("500 Internal Server Error", "InternalError", UnavailableError),
        ("400 Bad Request", "RequestTimeout", UnavailableError),
        ("409 Conflict", "OperationAborted", UnavailableError),
        ("400 Bad Request", "BadDigest", InvalidError),
        ("405 Method Not Allowed", "MethodNotAllowed", UnsupportedError),
    ],
)
async def test_refusals(status: str, code: str, expected: type[StoreError]) -> None:
    data = refusal(status, code)
    script = {"get": [data], "put": [data] * 8, "head": [NOT_FOUND] * 3 + [found()]}
    async with scripted_s3(script) as server, opened(server.url) as store:
        for operation in (read(store, image(store)), write(store, "image", b"x")):
            with pytest.raises(expected) as raised:
                await operation
            assert type(raised.value) is expected
            for secret in (SECRET, "access"):
                assert secret not in repr(raised.value)
    script = {"head": [found()], "delete": [data]}
    async with scripted_s3(script) as server, opened(server.url) as store:
        with pytest.raises(expected):
            await store.delete(image(store))


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
            assert sent.one("content-md5") == "eB5eJF1ptWaXm4bijSPyxw=="
            assert sent.one("if-none-match") == "*"
            assert sent.one("expect") is None
            assert "content-md5" in (sent.one("authorization") or "")

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

    async def test_an_abort_that_fails_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        denied = refusal("403 Forbidden", "AccessDenied")
        script: dict[str, list[Answer]] = {"part": [SLOW_DOWN] * 40, "abort": [denied]}
        async with scripted_s3(script) as server, opened(server.url, **IN_PARTS) as store:
            with caplog.at_level(logging.WARNING), pytest.raises(ThrottledError):
                await write(store, "image", self.CONTENT)
        assert "may have left something" in caplog.text
        assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("host", "options", "url"),
    [
        ("https://s3.amazonaws.com", {}, "https://images.s3.amazonaws.com/a%20b"),
        (
            "https://s3.amazonaws.com",
            {"addressing": "path"},
            "https://s3.amazonaws.com/images/a%20b",
        ),
        ("rgw:7480", {}, "http://rgw:7480/images/a%20b"),
        ("rgw:7480", {"addressing": "virtual"}, "http://images.rgw:7480/a%20b"),
        ("https://gw/s3", {}, "https://gw/s3/images/a%20b"),
    ],
)
async def test_where_requests_go(host: str, options: dict[str, Any], url: str) -> None:
    async with opened(host, **options) as store:
        client = await store._client.get()
        signed = await client.generate_presigned_url(
            "get_object", Params={"Bucket": "images", "Key": "a b"}
        )
        assert signed.partition("?")[0] == url
        assert "us-east-1" in signed


async def test_nobody_listens() -> None:
    async with scripted_s3() as server:
        host = server.url
    async with opened(host) as store:
        for operation in (read(store, image(store)), write(store, "image", b"x")):
            with pytest.raises(UnavailableError, match="nobody answers there"):
                await operation


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "config").write_text("[profile other]\nregion = nowhere\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "absent")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    async with scripted_s3() as server, opened(server.url) as store:
        await write(store, "image", b"x")
        assert "Credential=access/" in (server.requests[-1].one("authorization") or "")
