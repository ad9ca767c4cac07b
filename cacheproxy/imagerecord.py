"""What the upstream tells of an image beside its content: who may have it, and what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from backends.location import Location
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


class _Told(msgspec.Struct, frozen=True):
    url: str
    metadata: dict[str, Any] = {}


class _Shown(msgspec.Struct, frozen=True):
    locations: list[_Told] | None = None
    direct_url: str | None = None
    stores: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image's data is; `store`: which of the configured stores that is, where it is told."""

    location: Location  # whose text may hold credentials, and is not shown
    store: str | None = None


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


async def location_list(upstream: Upstream, image_id: str, headers: Headers) -> tuple[Place, ...]:
    """Ask the locations API, which is for services (Glance 2.17).

    `UpstreamAnswerError` for any status but 200; the other `UpstreamError`s.
    """
    target = f"/v2/images/{quote(image_id, safe='')}/locations"
    return _places(await _shown(upstream, target, headers, list[_Told]))


async def shown_locations(upstream: Upstream, image_id: str, headers: Headers) -> tuple[Place, ...]:
    """Return what an image's record shows of its locations, which is none unless Glance is told to.

    Errors are those of `location_list`.
    """
    target = f"/v2/images/{quote(image_id, safe='')}"
    shown = await _shown(upstream, target, headers, _Shown)
    if shown.locations:
        return _places(shown.locations)
    if shown.direct_url is None:
        return ()
    only = shown.stores if shown.stores and "," not in shown.stores else None
    return (Place(Location(shown.direct_url), only),)


def _places(told: list[_Told]) -> tuple[Place, ...]:
    places = []
    for each in told:
        store = each.metadata.get("store")
        places.append(Place(Location(each.url), store if isinstance(store, str) else None))
    return tuple(places)


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
