"""Upstreams that answer something else, stall, break off or end oddly: what readers see, what stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.images import random_bytes
from harness.raw_origin import Peer, raw_origin
from harness.story import CHUNK, figure, story

SIZE = 4 * CHUNK + 99
DATA = random_bytes(SIZE, seed=16)
CUT = 2 * CHUNK + 5
STATUSES = (204, 302, 401, 404, 408, 429, 500, 503)
UNIMPATIENT = "[upstream]\nread_timeout_seconds = 1\n"


async def test_no_data_at_all_is_told_as_the_upstream_tells_it(tmp_path: Path) -> None:
    """Nor is anybody's token shown to where a redirect points."""

    async def trap(peer: Peer) -> None:
        raise AssertionError(await peer.request())

    async with raw_origin(trap) as elsewhere, story(tmp_path) as told:
        empty = await told.idle()
        images = {
            status: told.glance.add(
                DATA,
                data_status=status,
                data_fields=(f"Location: {elsewhere.url}/data", "Retry-After: 7"),
            )
            for status in STATUSES
        }
        answers = {status: told.ask(image.id, token="t") for status, image in images.items()}
        for status, answer in answers.items():
            body = await answer.body()
            assert answer.status == status
            assert answer.headers["location"] == f"{elsewhere.url}/data"
            assert answer.headers["retry-after"] == "7"
            assert (body == b"") if status == 204 else body.startswith(str(status).encode())
        await told.idle()
        await told.shrunk(empty)
        assert told.chunk_files() == 0
        assert elsewhere.connections == 0


async def test_no_more_data_in_the_middle(tmp_path: Path) -> None:
    """The reader is reset, as a reader of Glance would be; what came stays for the next one."""
    async with story(tmp_path) as told:
        images = {status: told.glance.add(DATA, politely=True) for status in STATUSES}
        readers = {}
        for status, image in images.items():
            hold = image.hold_at(CUT)
            readers[status] = told.ask(image.id)
            await readers[status].received(2 * CHUNK)
            image.cuts.append(CUT)
            image.data_status = status
            hold.release.set()
        for reader in readers.values():
            assert await reader.ended() == "reset"
            assert bytes(reader.data) == DATA[: len(reader.data)]
        await told.idle()
        assert told.chunk_files() == 2  # of all images together: their bytes are the same
        for image in images.values():
            image.data_status = 200
            assert await told.ask(image.id).body() == DATA
        samples = await told.idle()
        assert figure(samples, "fill_duration_seconds_count", result="failed") == len(images)
        assert figure(samples, "fill_duration_seconds_count", result="ok") == len(images)
        for image in images.values():
            assert image.sent_bytes == SIZE + CUT % CHUNK  # the torn chunk alone came twice


ENDINGS: dict[str, dict[str, Any]] = {
    "a length, then the connection's end": {"framing": "length and close"},
    "the same without ranges": {"framing": "length and close", "ranges": "refused"},
    "chunks without a length": {"framing": "chunked", "ranges": "refused"},
    "HTTP/1.0 without a length": {"framing": "close", "ranges": "refused"},
    "HTTP/1.0 that ignores ranges": {"framing": "close", "ranges": "ignored"},
}


@pytest.mark.parametrize("politely", [True, False])
async def test_a_cut_is_gone_round_however_the_end_is_told(tmp_path: Path, politely: bool) -> None:
    async with story(tmp_path) as told:
        images = [told.glance.add(DATA, politely=politely, **kind) for kind in ENDINGS.values()]
        for image in images:
            image.cuts.append(CUT)
        readers = [(told.ask(i.id), told.ask(i.id, f"bytes={3 * CHUNK}-")) for i in images]
        for whole, tail in readers:
            assert await whole.body() == DATA
            assert await tail.body() == DATA[3 * CHUNK :]
        samples = await told.idle()
        assert told.chunk_files() == 5  # nothing is stored twice, whatever comes twice
        assert figure(samples, "fill_duration_seconds_count", result="ok") == len(images)
        assert figure(samples, "verify_failures_total") == 0
        for image in images:
            again = told.ask(image.id)
            assert await again.body() == DATA
            assert again.headers["etag"] == f'"{image.id}"'


@pytest.mark.parametrize("ranges", ["refused", "ignored"])
async def test_what_comes_again_and_differs_is_a_mismatch(tmp_path: Path, ranges: str) -> None:
    """A source without ranges is read again from its first byte, and held against what is there."""
    async with story(tmp_path) as told:
        image = told.glance.add(DATA, ranges=ranges)
        empty = await told.idle()
        hold = image.hold_at(CUT)
        reader = told.ask(image.id)
        await hold.reached.wait()
        await reader.received(CHUNK)
        image.cuts.append(CUT)
        image.wrong_at = 7
        hold.release.set()
        assert await reader.ended() == "reset"
        samples = await told.idle()
        await told.shrunk(empty)
        assert told.chunk_files() == 0
        assert figure(samples, "fill_duration_seconds_count", result="mismatch") == 1
        image.wrong_at = None
        assert await told.ask(image.id).body() == DATA


async def test_an_end_that_nobody_promised_and_that_comes_too_early(tmp_path: Path) -> None:
    """It may be a cut: it is tried again, the reader is reset, and what came is kept."""
    async with story(tmp_path) as told:
        image = told.glance.add(DATA, framing="close", ranges="ignored", surplus=-1)
        reader = told.ask(image.id)
        assert await reader.ended() == "reset"
        assert len(reader.data) < SIZE
        samples = await told.idle()
        assert told.chunk_files() == 4
        assert figure(samples, "fill_duration_seconds_count", result="failed") == 1
        image.surplus = 0
        assert await told.ask(image.id).body() == DATA


@pytest.mark.parametrize("ranges", ["yes", "refused"])
async def test_a_body_that_stalls_is_asked_for_again(tmp_path: Path, ranges: str) -> None:
    async with story(tmp_path, more=UNIMPATIENT) as told:
        image = told.glance.add(DATA, ranges=ranges)
        hold = image.hold_at(CUT)
        reader = told.ask(image.id)
        await hold.reached.wait()
        image.holds.clear()
        assert await reader.body() == DATA
        await told.idle()
        assert image.sent_bytes == SIZE + (CUT if ranges == "refused" else 0)
        hold.release.set()


async def test_a_source_that_only_stalls_ends_its_readers(tmp_path: Path) -> None:
    async with story(tmp_path, more=UNIMPATIENT) as told:
        image = told.glance.add(DATA)
        hold = image.hold_at(CUT)
        reader = told.ask(image.id)
        assert await reader.ended() == "reset"
        assert bytes(reader.data) == DATA[: len(reader.data)]
        await told.idle()
        assert told.chunk_files() == 2
        hold.release.set()
        image.holds.clear()
        assert await told.ask(image.id).body() == DATA


async def test_an_id_that_is_used_again(tmp_path: Path) -> None:
    """Deleted through the node, and given to another image: nobody gets a byte of the former one."""
    other = random_bytes(SIZE, seed=17)
    async with story(tmp_path, workers=2) as told:
        former = told.glance.add(DATA)
        for _ in range(4):  # by both workers, from their memory
            assert await told.ask(former.id).body() == DATA
        claimed = {
            name: former.record[name] for name in ("checksum", "os_hash_algo", "os_hash_value")
        }
        deleted = told.ask.send(
            f"DELETE /v2/images/{former.id} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
        )
        assert await deleted.answered() == 204
        await deleted.ended()
        again = told.glance.add(other, record={"created_at": "2026-03-01T00:00:00Z"})
        del told.glance.images[again.id]
        again.id = again.record["id"] = former.id
        told.glance.images[former.id] = again
        answers = [told.ask(again.id) for _ in range(4)]
        assert [await answer.body() for answer in answers] == [other] * 4
        # Nor where its record claims the hashes of the former one.
        again.record.update(claimed, created_at="2026-04-01T00:00:00Z")
        changed = told.ask.send(
            f"DELETE /v2/images/{again.id} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
        )
        await changed.ended()
        told.glance.images[again.id] = again
        liar = told.ask(again.id)
        assert await liar.ended() == "reset"
        assert bytes(liar.data) == other[: len(liar.data)]
