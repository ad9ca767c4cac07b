"""What is answered to every kind of question about image data, good and bad."""

from __future__ import annotations

from pathlib import Path

from harness.images import random_bytes
from harness.story import CHUNK, Story, figure, story

SIZE = 2 * CHUNK + 55
DATA = random_bytes(SIZE, seed=7)
LATER = "9223372036854775808"  # 2**63

# Glance's statuses for ranges, and what is sent.
RANGES: list[tuple[str, int, slice]] = [
    ("bytes=0-0", 206, slice(0, 1)),
    (f"bytes={SIZE - 1}-", 206, slice(SIZE - 1, SIZE)),
    ("bytes=-1", 206, slice(SIZE - 1, SIZE)),
    (f"bytes=-{SIZE}", 206, slice(0, SIZE)),
    (f"bytes=-{SIZE + 1}", 206, slice(0, SIZE)),
    (f"bytes=-{LATER}", 206, slice(0, SIZE)),
    (f"bytes=5-{SIZE}", 206, slice(5, SIZE)),
    (f"bytes=5-{LATER}", 206, slice(5, SIZE)),
    ("bytes = 1 - 2", 206, slice(1, 3)),
    ("BYTES=1-2", 206, slice(1, 3)),
]
REFUSED = {
    f"bytes={SIZE}-": 416,
    f"bytes={LATER}-": 416,
    "bytes=-0": 416,
    "bytes=2-1": 416,
    "bytes=-": 416,
    "bytes=": 416,
    "bytes": 416,
    "bytes=a-b": 416,
    "bytes=1-2-3": 416,
    "bytes=--1": 416,
    "bytes=0x1-2": 416,
    "bytes=\xb2-\xb3": 416,
    "items=0-1": 416,
    "0-1": 416,
    "": 416,
    "bytes=0-1,3-4": 400,
    "bytes=0-1,": 400,
    ",": 400,
    "bytes=" + "9" * 5000 + "-": 416,
}


async def test_ranges_cold_and_warm(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA)
        for _ in ("cold", "warm"):
            for wanted, status in REFUSED.items():
                refused = told.ask(image.id, wanted)
                body = await refused.body()
                assert (refused.status, wanted) == (status, wanted)
                assert body.startswith(str(status).encode())
                if status == 416:
                    assert refused.headers["content-range"] == f"bytes */{SIZE}"
            for wanted, status, part in RANGES:
                given = told.ask(image.id, wanted)
                assert await given.body() == DATA[part]
                assert (given.status, wanted) == (status, wanted)
                told_range = f"bytes {part.start}-{part.stop - 1}/{SIZE}"
                assert given.headers["content-range"] == told_range
                assert given.headers["content-length"] == str(part.stop - part.start)
            await told.idle()
        assert image.sent_bytes == SIZE


async def test_two_range_fields_are_several_ranges(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA)
        twice = told.ask(image.id, "bytes=0-1", headers={"range": "bytes=3-4"})
        await twice.body()
        assert twice.status == 400


async def test_head_asks_for_no_data(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA)
        cold = told.ask(image.id, method="HEAD")
        assert await cold.body() == b""
        assert image.data_requests == []
        assert await told.ask(image.id).body() == DATA
        await told.idle()
        warm = told.ask(image.id, "bytes=3-4", method="HEAD")
        assert await warm.body() == b""
        for answer in (cold, warm):
            assert answer.status == 200
            assert answer.headers["content-length"] == str(SIZE)
            assert answer.headers["accept-ranges"] == "bytes"
            assert answer.headers["content-type"] == "application/octet-stream"
        assert "etag" not in cold.headers
        assert warm.headers["etag"] == f'"{image.id}"'
        assert await told.ended("hit") == 2


async def test_conditions(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA)
        tag = f'"{image.id}"'
        # Before the proof nothing matches.
        cold = told.ask(image.id, headers={"If-None-Match": "*"})
        assert await cold.body() == DATA
        await told.idle()
        for value in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            for method in ("GET", "HEAD"):
                same = told.ask(image.id, method=method, headers={"If-None-Match": value})
                assert await same.body() == b""
                assert same.status == 304
                assert same.headers["etag"] == tag
        other = told.ask(image.id, headers={"If-None-Match": '"x"'})
        assert await other.body() == DATA
        matching = told.ask(image.id, "bytes=1-2", headers={"If-Range": tag})
        assert await matching.body() == DATA[1:3]
        for value in ('"x"', f"W/{tag}", image.id, "Wed, 21 Oct 2026 07:28:00 GMT"):
            whole = told.ask(image.id, "bytes=1-2", headers={"If-Range": value})
            assert await whole.body() == DATA
            assert whole.status == 200
        assert await told.ended("hit") == 14
        assert image.sent_bytes == SIZE


async def test_what_is_not_for_the_cache_passes(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA)
        empty = told.glance.add(b"")
        queued = told.glance.add(DATA, record={"status": "queued", "size": None})
        for asked in (
            told.ask(image.id, query="?elsewhere=1"),
            told.ask(empty.id),
            told.ask(queued.id),
            told.ask(image.id, headers={"Content-Range": "bytes 0-9/*"}),
        ):
            await asked.body()
            assert asked.status == 200
        samples = await told.idle()
        assert told.chunk_files() == 0
        assert figure(samples, "requests_total", result="bypass") == 4


async def strange(told: Story, line: str, *fields: str) -> int:
    """Ask with a request line and fields as they stand; return the status."""
    download = told.ask.send("\r\n".join([line, "Connection: close", *fields, "", ""]))
    await download.ended()
    return download.status


async def test_strange_ids_are_for_glance_to_judge(tmp_path: Path) -> None:
    ids = ["x", "%00", "..", "a%2Fb", "%", "x" * 5000, "a%20b", "%E4", "a;b", "-"]
    async with story(tmp_path) as told:
        for image_id in ids:
            told.ask.asked += "%" not in image_id
            path = f"/v2/images/{image_id}/file"
            status = await strange(told, f"GET {path} HTTP/1.1", "Host: node")
            assert (status, image_id) == (404, image_id)
            assert path in [head.target for head in told.glance.raw.heads]
        samples = await told.idle()
        assert figure(samples, "requests_total", result="refused") == told.ask.asked


MALFORMED: list[tuple[str, tuple[str, ...]]] = [
    ("GET", ()),
    ("GET  HTTP/1.1", ("Host: node",)),
    ("GET /v2/images/i/file HTTP/9.9", ("Host: node",)),
    ("GET /v2/images/i/file HTTP/1.1", ("Host node",)),
    ("GET /v2/images/i/file HTTP/1.1", ("Host: node", "A\x01B: c")),
    ("GET /v2/images/i/file HTTP/1.1", ("Host: node", "A: b\x00c")),
    ("GET /v2/images/i/file HTTP/1.1", ("Host: node", "Content-Length: -1")),
    ("GET /v2/images/i/file HTTP/1.1", ("Host: node", "A: " + "x" * 70_000)),
    ("G(T /v2/images/i/file HTTP/1.1", ("Host: node",)),
    ("GET /v2/images/\xe4/file HTTP/1.1", ("Host: node",)),
    ("\x16\x03\x01\x02", ()),  # TLS, spoken to the wrong port
]


async def test_malformed_requests_get_400(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        for line, fields in MALFORMED:
            status = await strange(told, line, "X-Auth-Token: secret", *fields)
            assert (status, line, fields) == (400, line, fields)
        asked = {head.target.partition("?")[0] for head in told.glance.raw.heads}
        assert asked <= {"/versions", "/v2/cacheproxy/changes"}, "the node's own questions"
        assert "secret" not in told.node.program.log.read_text()


async def test_data_that_is_not_to_be_had_is_told_as_the_upstream_tells_it(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        for status in (404, 410, 503):
            image = told.glance.add(DATA, data_status=status)
            answer = told.ask(image.id)
            assert (await answer.body()).startswith(str(status).encode())
            assert answer.status == status
        samples = await told.idle()
        assert figure(samples, "requests_total", result="refused") == 2
        assert figure(samples, "requests_total", result="error") == 1


async def test_a_request_keeps_its_id(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        image = told.glance.add(DATA)
        for brought, expected in (
            ("req-mine", "req-mine"),
            ("mine", "req-mine"),
            ("x" * 64, f"req-{'x' * 64}"),
        ):
            for wanted, status in ((None, 200), ("bytes=0-0", 206), ("bytes=9-8", 416)):
                answer = told.ask(image.id, wanted, headers={"X-OpenStack-Request-ID": brought})
                await answer.body()
                assert answer.status == status
                assert answer.headers["x-openstack-request-id"] == expected
                assert answer.headers["server"] == "cacheproxy"
        await told.idle()
        sent = image.sent_bytes
        # What Glance does about longer ones is its own decision.
        longer = told.ask(image.id, headers={"X-OpenStack-Request-ID": "x" * 65})
        assert await longer.body() == DATA
        assert await told.ended("bypass") == 1
        assert image.sent_bytes == sent + SIZE
