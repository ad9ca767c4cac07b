"""The log of requests: one line each, without query strings and without credentials.

    REMOTE "METHOD PATH" STATUS BYTES SECONDS RESULT REQUEST-ID ASKED-ID PROJECT USER

`RESULT` is hit, partial, miss, bypass, refused or error for image data, cache-api for what this node
answers of its cache, else pass.  The ids are the answer's and the request's own.  Project and user
are looked up when the answer has ended, so lines may stand a little out of order; they are `-`
without `[keystone]`, without a valid token, and where Keystone does not say in time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from cacheproxy.identity import Identities, Identity
from cacheproxy.web.cache_rights import TOKEN
from cacheproxy.web.image_file import REQUEST_ID, RESULT
from cacheproxy.web.passthrough import SENT_BYTES
from cacheproxy.web.signed import path_for_logs

IDENTITIES = web.RequestKey("identities", Identities)  # of a request: who knows whose it is

access_log = logging.getLogger("cacheproxy.access")


@dataclass(frozen=True, slots=True)
class Entry:
    """What there is to tell of an answer that has ended; as text, a line but for whose it was."""

    remote: str | None
    method: str
    path: str  # without its query
    status: int
    sent_bytes: int  # of image data, or whatever passed through
    seconds: float
    result: str
    request_id: str
    asked_id: str

    def __str__(self) -> str:
        return (
            f'{self.remote or "-"} "{self.method} {self.path}" {self.status} {self.sent_bytes}'
            f" {self.seconds:.3f}s {self.result} {self.request_id} {self.asked_id}"
        )


class AccessLog(AbstractAccessLogger):
    """Writes lines as requests end; never waits."""

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return self.logger.isEnabledFor(logging.INFO)

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line, now or when it is known whose request it was."""
        entry = Entry(
            remote=request.remote,
            method=request.method,
            path=path_for_logs(request.raw_path) + ("?…" if request.query_string else ""),
            status=response.status,
            sent_bytes=request.get(SENT_BYTES, 0),
            seconds=time,
            result=request.get(RESULT, "pass"),
            request_id=response.headers.get(REQUEST_ID, "-"),
            asked_id=request.headers.get("X-OpenStack-Request-ID") or "-",
        )
        write(self.logger, entry, request.get(IDENTITIES), request.headers.get(TOKEN))


def write(
    logger: logging.Logger, entry: Entry, identities: Identities | None, token: str | None
) -> None:
    """Write an entry, now or when it is known whose `token` it was."""

    def known(identity: Identity | None) -> None:
        project = identity and identity.project_id
        logger.info("%s %s %s", entry, project or "-", identity.user_id if identity else "-")

    if identities is None:
        known(None)
    else:
        identities.tell(token, known)
