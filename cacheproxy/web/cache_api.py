"""Glance's interface to its image cache, for the cache of this node: `/v2/cache` and below.

    GET    /v2/cache             what is cached, and what is queued
    DELETE /v2/cache             drop all; `x-image-cache-clear-target: cache | queue` says which
    PUT    /v2/cache/{id}        queue an image
    DELETE /v2/cache/{id}        drop an image, and take it from the queue
    POST   /v2/cache/prune       nothing: the limit is kept all the time
    POST   /v2/cache/clean       remove what nobody needs
    GET    /v2/cache/nodes/{id}  409: this node knows of no others

Statuses and documents are Glance's (`docs/cache-api.md` tells the differences).  The right is asked
for first, whatever is asked.
"""

from __future__ import annotations

import re
from typing import Protocol
from urllib.parse import quote
from uuid import uuid4

import msgspec
from aiohttp import web

from cacheproxy import cacheorders as orders
from cacheproxy.errors import BusyError, KeeperError, UpstreamError, UpstreamLiesError
from cacheproxy.headers import end_to_end
from cacheproxy.meter import Meter
from cacheproxy.metrics import CACHE_API_REQUESTS
from cacheproxy.upstream import RECORD_BYTES_MAX, Answer, Upstream
from cacheproxy.web.cache_rights import TOKEN, CacheRights
from cacheproxy.web.errors import error_response
from cacheproxy.web.image_file import REQUEST_ID, RESULT
from cacheproxy.web.passthrough import SENT_BYTES

CLEAR_TARGET = "x-image-cache-clear-target"
TOKEN_CHARACTERS_MAX = 16_384

# Ids need no quoting; anything else in their place names no image.
_PATH = re.compile(r"/v2/cache(?:/(nodes)/([^/?#%]+)|/([^/?#%]+))?(?:\?.*)?", re.ASCII)
_IMAGE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}", re.ASCII)

_NOT_ACTIVE = "Only images with status active can be targeted for queueing"
_BAD_TARGET = f"If provided '{CLEAR_TARGET}' must be 'cache', 'queue' or empty string."


class Keeper(Protocol):
    """Who has the cache."""

    async def order(self, order: orders.AnyOrder) -> tuple[list[orders.Rows], orders.Ending]:
        """Have an order carried out; KeeperError or BusyError if it is not."""


class _Record(msgspec.Struct):
    status: str


class CacheApi:
    """Answers for the cache of this node."""

    def __init__(
        self, rights: CacheRights, keeper: Keeper, upstream: Upstream, meter: Meter
    ) -> None:
        self._rights = rights
        self._keeper = keeper
        self._upstream = upstream
        self._meter = meter

    @staticmethod
    def serves(raw_path: str) -> bool:
        """Whether a path is of this interface."""
        return _PATH.fullmatch(raw_path) is not None

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        response = await self._rights.refusal(request) or await self._answer(request)
        response.headers.setdefault(REQUEST_ID, f"req-{uuid4()}")
        if request.body_exists:
            response.force_close()  # nobody reads it
        request[RESULT], request[SENT_BYTES] = "cache-api", response.content_length or 0
        self._meter.inc(CACHE_API_REQUESTS, 1, str(response.status))
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:  # noqa: PLR0911  one a call
        match = _PATH.fullmatch(request.raw_path)
        assert match is not None
        nodes, of_nodes, name = match.groups()
        if request.body_exists:
            return error_response(400, "A body is not expected with this request.")
        match request.method, nodes, name:
            case "GET", None, None:
                return await self._list()
            case "DELETE", None, None:
                return await self._clear(request.headers.get(CLEAR_TARGET, "").lower())
            case "POST", None, "prune":
                return web.json_response({"total_files_pruned": 0, "total_bytes_pruned": 0})
            case "POST", None, "clean":
                return await self._obeyed(orders.CleanUp(), 200)
            case "PUT", None, str(image_id):
                return await self._queue(request, image_id)
            case "DELETE", None, str(image_id):
                return await self._delete(request, image_id)
            case "GET", "nodes", None:
                return await self._nodes(request, of_nodes)
            case _:
                return _not_allowed(request.method, nodes, name)

    async def _list(self) -> web.Response:
        try:
            rows, ending = await self._keeper.order(orders.ListImages())
        except (KeeperError, BusyError) as error:
            return _away(error)
        if not isinstance(ending, orders.Done):
            return _ended(ending, 200)
        cached = [
            {
                "image_id": image.image_id,
                "hits": image.hits,
                "last_accessed": image.last_accessed,
                "last_modified": image.last_modified,
                "size": image.size,
            }
            for part in rows
            for image in part.cached
        ]
        queued = [image_id for part in rows for image_id in part.queued]
        return web.json_response({"cached_images": cached, "queued_images": queued})

    async def _clear(self, target: str) -> web.Response:
        if target not in ("", "cache", "queue"):
            return error_response(400, _BAD_TARGET)
        order = orders.ClearImages(cached=target != "queue", queued=target != "cache")
        return await self._obeyed(order, 204)

    async def _queue(self, request: web.BaseRequest, image_id: str) -> web.Response:
        found = await self._find(request, image_id)
        if isinstance(found, web.Response):
            return found
        if found.status != "active":
            return error_response(400, _NOT_ACTIVE)
        token = request.headers.get(TOKEN)
        if token is not None and len(token) > TOKEN_CHARACTERS_MAX:
            return error_response(400, "the token is too long to be kept")
        return await self._obeyed(orders.QueueImage(image_id, token), 202)

    async def _delete(self, request: web.BaseRequest, image_id: str) -> web.Response:
        response = await self._obeyed(orders.DeleteImage(image_id), 204)
        if response.status != 404:
            return response
        # Nothing of it is here: Glance is content if there is such an image at all.
        found = await self._find(request, image_id)
        return found if isinstance(found, web.Response) else _empty(204)

    async def _nodes(self, request: web.BaseRequest, image_id: str) -> web.Response:
        found = await self._find(request, image_id)
        if isinstance(found, web.Response):
            return found
        return error_response(409, "Centralized caching is not enabled")

    async def _find(self, request: web.BaseRequest, image_id: str) -> _Record | web.Response:
        """Have the upstream show the image to the caller; or what to answer if it does not."""
        if _IMAGE_ID.fullmatch(image_id) is None:
            return error_response(404, "There is no such image.")
        asked = end_to_end([(str(name), value) for name, value in request.headers.items()])
        target = f"/v2/images/{quote(image_id, safe='')}"
        try:
            async with self._upstream.exchange("GET", target, asked) as answer:
                if answer.status != 200:
                    return _unseen(answer.status, image_id)
                return msgspec.json.decode(await _read(answer), type=_Record)
        except UpstreamError:
            return error_response(503, "the image service cannot be reached")
        except msgspec.MsgspecError:
            return error_response(503, "the image service sends what is no image's record")

    async def _obeyed(self, order: orders.AnyOrder, status: int) -> web.Response:
        try:
            _, ending = await self._keeper.order(order)
        except (KeeperError, BusyError) as error:
            return _away(error)
        return _ended(ending, status)


async def _read(answer: Answer) -> bytes:
    text = bytearray()
    while piece := await answer.piece():
        text += piece
        if len(text) > RECORD_BYTES_MAX:
            raise UpstreamLiesError("too long a record")
    return bytes(text)


def _unseen(status: int, image_id: str) -> web.Response:
    """Answer for an image that the upstream does not show."""
    if status in (401, 403):
        return error_response(status, "The image service refuses to show the image.")
    if status == 404:
        return error_response(404, f"Image {image_id} not found.")
    return error_response(503, "the image service does not show the image")


def _ended(ending: orders.Ending, status: int) -> web.Response:
    match ending:
        case orders.Done():
            return _empty(status)
        case orders.NotCached():
            return error_response(404, "There is nothing of this image.")
        case orders.Refused():
            return error_response(409, ending.why)
        case orders.Full():
            return error_response(503, "too many images are queued")
        case orders.Failed():
            return error_response(503, "the cache cannot be changed now")


def _away(error: KeeperError | BusyError) -> web.Response:
    return error_response(503, f"the cache cannot be reached: {error}")


def _empty(status: int) -> web.Response:
    return web.Response(status=status, headers={"Content-Type": "text/html; charset=UTF-8"})


def _not_allowed(method: str, nodes: str | None, name: str | None) -> web.Response:
    if nodes is not None:
        allowed = "GET"
    elif name is None:
        allowed = "GET, DELETE"
    else:
        allowed = "POST" if name in ("clean", "prune") else "DELETE, PUT"
    response = error_response(405, f"The method {method} is not allowed for this resource.")
    response.headers["Allow"] = allowed
    return response
