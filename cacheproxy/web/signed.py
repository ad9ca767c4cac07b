"""`/cacheproxy/v1/…`, which no Glance has: signed URLs, given and used.

    POST /cacheproxy/v1/images/{id}/url          with a token: sign a URL, or renew one
    GET, HEAD /cacheproxy/v1/images/{id}/file?grant=…    read the image's data, without a token

A use becomes the ordinary request that it stands for, with the credentials that the grant has: the
signature ends here.  Nothing below `/cacheproxy/` is passed through, however it is written.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from cacheproxy.config import SignedUrlSettings
from cacheproxy.errors import UpstreamAnswerError
from cacheproxy.grants import Given, GrantError, Grants
from cacheproxy.headers import Headers
from cacheproxy.meter import Meter
from cacheproxy.metrics import (
    FILE_REQUESTS,
    REQUESTS,
    SIGNED_REQUESTS,
    SIGNED_URLS,
)
from cacheproxy.web.errors import error_response
from cacheproxy.web.image_file import RESULT, ImageFile

BODY_BYTES_MAX = 16 << 10
BODY_SECONDS_MAX = 30.0

_PATH = re.compile(r"/cacheproxy/v1/images/([0-9A-Za-z][0-9A-Za-z._-]{0,127})/(url|file)", re.ASCII)
_ABSOLUTE_FORM = re.compile(r"https?://[^/?#]+", re.ASCII | re.IGNORECASE)
_HOST = re.compile(r"[0-9A-Za-z._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?", re.ASCII)

# Of the request that is made from a use; all else of it, tokens too, is not the grant's.
_KEPT = frozenset(
    {"connection", "host", "if-none-match", "if-range", "range", "x-openstack-request-id"}
)


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a POST; all of it may be absent."""

    lifetime: Annotated[int, msgspec.Meta(ge=1)] | None = None  # seconds
    url: Annotated[str, msgspec.Meta(max_length=4096)] | None = None  # to be renewed


class _Renewal(msgspec.Struct):
    method: str
    url: str
    body: dict[str, str]


class _Signed(msgspec.Struct):
    """The answer to it."""

    image: str
    url: str
    expires_at: str
    ends_with_token: bool
    disk_format: str | None
    renewal: _Renewal


def is_own(raw_path: str) -> bool:
    """Whether a request's target is the proxy's own, however it is written."""
    path = unquote(_ABSOLUTE_FORM.sub("", raw_path, count=1).partition("?")[0])
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return bool(parts) and parts[0].lower() == "cacheproxy"


def path_for_logs(raw_path: str) -> str:
    """Return a request's path without anything that may be a signature, as a log may show it."""
    path = raw_path.partition("?")[0]
    if is_own(path) and not _PATH.fullmatch(_ABSOLUTE_FORM.sub("", path, count=1)):
        return "/cacheproxy/…"  # perhaps a URL that was quoted once too often
    return path


class SignedUrls:
    """The handler; without `grants` it only keeps what is the proxy's own from the upstream."""

    def __init__(
        self,
        settings: SignedUrlSettings,
        grants: Grants | None,
        image_file: ImageFile | None,
        meter: Meter,
    ) -> None:
        self._settings = settings
        self._grants = grants
        self._image_file = image_file
        self._meter = meter

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request for something below `/cacheproxy/`."""
        path, _, query = _ABSOLUTE_FORM.sub("", request.raw_path, count=1).partition("?")
        match = _PATH.fullmatch(path)
        if match is None:
            return _close(request, error_response(404, "the proxy has nothing there"))
        if self._grants is None or self._image_file is None:
            text = "signed URLs are off here: [signed_urls] enabled"
            return _close(request, error_response(404, text))
        image_id, what = match[1], match[2]
        methods = ("POST",) if what == "url" else ("GET", "HEAD")
        if request.method not in methods:
            response = error_response(405, f"{' or '.join(methods)} is expected here")
            response.headers["Allow"] = ", ".join(methods)
            return _close(request, response)
        if what == "url":
            return await self._sign(request, self._grants, image_id)
        return await self._use(request, self._grants, self._image_file, image_id, query)

    # --- giving -----------------------------------------------------------------------------------

    async def _sign(
        self, request: web.BaseRequest, grants: Grants, image_id: str
    ) -> web.StreamResponse:
        try:
            base = self._settings.base_url or _base(request)
            wish = await _wish(request)
            given = await _given(request, grants, image_id, wish)
        except _RefusalError as refusal:
            self._meter.inc(SIGNED_URLS, 1, "refused")
            response = error_response(refusal.status, str(refusal))
            if refusal.status == 401:
                response.headers["WWW-Authenticate"] = "Keystone"
            return _close(request, response)
        self._meter.inc(SIGNED_URLS, 1, "given" if wish.url is None else "renewed")
        return web.Response(
            status=201 if wish.url is None else 200,
            body=msgspec.json.encode(_told(base, image_id, given)),
            headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
        )

    # --- using ------------------------------------------------------------------------------------

    async def _use(
        self,
        request: web.BaseRequest,
        grants: Grants,
        image_file: ImageFile,
        image_id: str,
        query: str,
    ) -> web.StreamResponse:
        try:
            text = "" if request.body_exists else _grant_in(f"?{query}")
            credentials = await grants.honour(image_id, text)
        except GrantError as error:
            self._meter.inc(SIGNED_REQUESTS, 1, error.reason)
            self._meter.inc(FILE_REQUESTS)
            result = "error" if error.reason == "unavailable" else "refused"
            request[RESULT] = result
            self._meter.inc(REQUESTS, 1, result)
            return _close(request, error_response(_STATUS.get(error.reason, 403), str(error)))
        self._meter.inc(SIGNED_REQUESTS, 1, "accepted")
        stand_in = _stand_in(request, image_id, credentials)
        try:
            return await image_file.answer(stand_in, image_id)
        finally:
            request.update(stand_in)  # what the access log tells of it


_STATUS: Mapping[str, int] = {"malformed": 400, "unavailable": 503}  # of a GrantError; else 403

# Of the upstream's answer to "may I download this?".
_UNALLOWED = {
    401: (401, "the image service wants a valid token: send X-Auth-Token"),
    403: (403, "the image service does not let you download this image"),
    404: (404, "the image service has no such image for you"),
}
_NOTHING_THERE = (409, "this image has no data that can be read")


def _stand_in(request: web.BaseRequest, image_id: str, credentials: Headers) -> web.BaseRequest:
    """Return the ordinary request that a use stands for."""
    headers: CIMultiDict[str] = CIMultiDict(
        (name, value) for name, value in request.headers.items() if name.lower() in _KEPT
    )
    for name, value in credentials:
        headers.add(name, value)
    return request.clone(rel_url=URL.build(path=f"/v2/images/{image_id}/file"), headers=headers)


def _grant_in(url: str) -> str:
    """Return the grant's text in a URL; what is none is found out later."""
    return parse_qs(urlsplit(url).query).get("grant", [""])[0]


class _RefusalError(Exception):
    """What a request for a URL is answered instead."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _base(request: web.BaseRequest) -> str:
    host = request.headers.get(hdrs.HOST, "")
    if not _HOST.fullmatch(host):
        raise _RefusalError(400, "send a Host, or set [signed_urls] base_url")
    return f"{request.scheme}://{host}"


async def _wish(request: web.BaseRequest) -> _Wish:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            while piece := await request.content.readany():
                body += piece
                if len(body) > BODY_BYTES_MAX:
                    raise _RefusalError(413, "the body is too long")
    except (TimeoutError, ConnectionError, web.RequestPayloadError, HttpProcessingError):
        raise _RefusalError(400, "the body did not come") from None
    try:
        return msgspec.json.decode(body, type=_Wish) if body.strip() else _Wish()
    except msgspec.MsgspecError:
        text = 'expected nothing, or JSON like {"lifetime": 3600} or {"url": "…", "lifetime": 3600}'
        raise _RefusalError(400, text) from None


async def _given(request: web.BaseRequest, grants: Grants, image_id: str, wish: _Wish) -> Given:
    headers = [(str(name), value) for name, value in request.headers.items()]
    try:
        if wish.url is None:
            return await grants.give(image_id, headers, wish.lifetime)
        return await grants.renew(image_id, headers, _grant_in(wish.url), wish.lifetime)
    except ValueError as error:
        raise _RefusalError(400, str(error)) from None
    except UpstreamAnswerError as error:
        raise _RefusalError(*_UNALLOWED.get(error.status, _NOTHING_THERE)) from None
    except GrantError as error:
        raise _RefusalError(_STATUS.get(error.reason, 403), str(error)) from None


def _told(base: str, image_id: str, given: Given) -> _Signed:
    url = f"{base}/cacheproxy/v1/images/{image_id}/file?grant={given.text}"
    expires = datetime.fromtimestamp(given.expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    renewal = _Renewal("POST", f"{base}/cacheproxy/v1/images/{image_id}/url", {"url": url})
    return _Signed(image_id, url, expires, given.ends_with_token, given.disk_format, renewal)


def _close(request: web.BaseRequest, response: web.Response) -> web.Response:
    """Leave a body that nobody reads behind."""
    if not request.content.at_eof():
        response.force_close()
    return response
