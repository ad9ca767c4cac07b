"""What the upstream tells of an image beside its content: who may have it, and what it is."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import quote

import msgspec

from cacheproxy.errors import UpstreamAnswerError, UpstreamLiesError
from cacheproxy.headers import Headers
from cacheproxy.upstream import Upstream

ANSWER_BYTES_MAX = 4 << 20  # as of any image record: Glance's quotas allow far less


class ImageRecord(msgspec.Struct, frozen=True):
    """The part of `GET /v2/images/{id}` that is of use here."""

    status: str
    visibility: str
    owner: str | None = None
    disk_format: str | None = None


class _Member(msgspec.Struct, frozen=True):
    status: str


T = TypeVar("T")


async def image_record(upstream: Upstream, image_id: str, headers: Headers) -> ImageRecord:
    """Show an image.  `UpstreamAnswerError` for any status but 200; the other `UpstreamError`s."""
    return await _shown(upstream, f"/v2/images/{quote(image_id, safe='')}", headers, ImageRecord)


async def member_status(upstream: Upstream, image_id: str, project: str, headers: Headers) -> str:
    """Return what a project's membership of a shared image is: accepted, pending, rejected.

    `UpstreamAnswerError(404)` if there is none; the other `UpstreamError`s.
    """
    target = f"/v2/images/{quote(image_id, safe='')}/members/{quote(project, safe='')}"
    return (await _shown(upstream, target, headers, _Member)).status


async def _shown(upstream: Upstream, target: str, headers: Headers, kind: type[T]) -> T:
    async with upstream.exchange("GET", target, headers) as answer:
        body = bytearray()
        while piece := await answer.piece():
            body += piece
            if len(body) > ANSWER_BYTES_MAX:
                raise UpstreamLiesError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        if answer.status != 200:
            raise UpstreamAnswerError(answer.status, answer.reason)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError:
        raise UpstreamLiesError(f"no {kind.__name__}, where one was asked for") from None
