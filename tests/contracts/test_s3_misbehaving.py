"""S3 servers that refuse, break off, contradict themselves or lose their answers."""

from __future__ import annotations

from typing import Any

import pytest

import backends.s3.object
from backends.errors import (
    DeniedError,
    InvalidError,
    MissingError,
    NoSpaceError,
    StoreError,
    ThrottledError,
    UnavailableError,
    UnsupportedError,
)
from backends.spans import Span
from backends.wrapping import Retrying, wrap
from contracts.answers import CONTENT, answer, partial_content
from contracts.cancelling import STEPS_MAX, cancelled_everywhere
from contracts.s3 import IN_PARTS, SECRET, image, opened
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


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.s3.object, "FIRST_PAUSE_SECONDS", 0.0)


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
        ("403 Forbidden", "RequestTimeTooSkewed", DeniedError),
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
        ("[fd00::1]:7480", {}, "http://[fd00::1]:7480/images/a%20b"),
        ("https://[fd00::1]/s3/", {}, "https://[fd00::1]/s3/images/a%20b"),
        (
            "https://s3.eu-central-1.amazonaws.com",
            {},
            "https://images.s3.eu-central-1.amazonaws.com/a%20b",
        ),
    ],
)
async def test_where_requests_go(host: str, options: dict[str, Any], url: str) -> None:
    async with opened(host, **options) as store:
        client = await store._client.get()
        signed = await client.generate_presigned_url(
            "get_object", Params={"Bucket": "images", "Key": "a b"}
        )
        assert signed.partition("?")[0] == url
        assert ("eu-central-1" if "eu-central-1" in host else "us-east-1") in signed


REGION = "x-amz-bucket-region: eu-north-1"


@pytest.mark.parametrize(
    "elsewhere",
    [
        reply("400 Bad Request", b"", REGION),
        reply("301 Moved Permanently", b"", REGION),
        reply("307 Temporary Redirect", b"", REGION),
    ],
)
async def test_the_bucket_is_in_another_region(elsewhere: bytes) -> None:
    script: dict[str, list[Answer]] = {"head": [elsewhere, found(), found()]}
    async with scripted_s3(script) as server, opened(server.url) as store:
        for _ in range(2):
            assert (await store.stat(image(store))).size == 10
        signed = [request.one("authorization") or "" for request in server.requests]
        assert ["/us-east-1/" in each for each in signed] == [True, False, False]
        assert all("/eu-north-1/" in each for each in signed[1:])
    script = {"get": [elsewhere, reply("200 OK", CONTENT), reply("200 OK", CONTENT)]}
    async with scripted_s3(script) as server, opened(server.url) as store:
        for _ in range(2):
            assert await read(store, image(store)) == CONTENT
        signed = [request.one("authorization") or "" for request in server.requests]
        assert ["/us-east-1/" in each for each in signed] == [True, False, False]


async def test_a_bucket_that_is_always_elsewhere() -> None:
    script: dict[str, list[Answer]] = {
        "get": [reply("301 Moved", b"", f"x-amz-bucket-region: r{i}") for i in range(3)]
    }
    async with scripted_s3(script) as server, opened(server.url) as store:
        with pytest.raises(InvalidError, match="answers 301"):
            await read(store, image(store))
        assert server.asked["get"] == 2


async def test_a_region_that_a_body_tells() -> None:
    told = xml("Error", Code="AuthorizationHeaderMalformed", Message="m", Region="eu-north-1")
    script: dict[str, list[Answer]] = {
        "get": [reply("400 Bad Request", told), reply("200 OK", CONTENT)],
        "put": [reply("400 Bad Request", told)],
    }
    async with scripted_s3(script) as server, opened(server.url) as store:
        assert await read(store, image(store)) == CONTENT
    async with scripted_s3(script) as server, opened(server.url) as store:
        await write(store, "image", CONTENT)
        assert "/eu-north-1/" in (server.requests[-1].one("authorization") or "")
        assert server.requests[-1].body == CONTENT


async def test_another_server_is_not_gone_to() -> None:
    async with scripted_s3({"get": [reply("200 OK", CONTENT)]}) as other:
        elsewhere = reply("307 Temporary Redirect", b"", f"Location: {other.url}/images/image")
        script: dict[str, list[Answer]] = {"get": [elsewhere] * 3, "head bucket": [NOT_FOUND] * 3}
        async with scripted_s3(script) as server, opened(server.url) as store:
            with pytest.raises(InvalidError, match="answers 307"):
                await read(store, image(store))
        assert not other.requests


async def test_answers_that_lack_what_they_must_have() -> None:
    script: dict[str, list[Answer]] = {
        "put": [reply("200 OK")],
        "head": [answer("200 OK", "Connection: close"), NOT_FOUND, NOT_FOUND],
    }
    async with scripted_s3(script) as server, opened(server.url) as store:
        assert (await store.stat(image(store))).size is None
        await write(store, "image", b"x")
    begun = xml("InitiateMultipartUploadResult", Bucket="images")
    for kind, data in (("begin", reply("200 OK", begun)), ("part", reply("200 OK"))):
        async with (
            scripted_s3({kind: [data]}) as server,
            opened(server.url, **IN_PARTS) as store,
        ):
            with pytest.raises(InvalidError, match="does not tell"):
                await write(store, "image", pattern(2 * PIECE))
            assert server.asked["abort"] == (kind == "part")


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


async def test_opening_cancelled_anywhere() -> None:
    async with scripted_s3({"head": [found()] * STEPS_MAX}) as server:

        async def first() -> None:
            async with opened(server.url) as store:
                await store.stat(image(store))

        async def check() -> None:
            assert server.asked.keys() <= {"head"}

        await cancelled_everywhere(first, check)
