"""The log of requests: one line each, without query strings and without credentials.

    REMOTE "METHOD PATH" STATUS BYTES SECONDS RESULT REQUEST-ID ASKED-ID PROJECT USER

`RESULT` is hit, partial, miss, bypass, refused or error for image data, cache-api for what this node
answers of its cache, else pass.  The ids are the answer's and the request's own.  Project and user
are looked up when the answer has ended, so lines may stand a little out of order; they are `-`
without `[keystone]`, without a valid token, and where Keystone does not say in time.
"""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from cacheproxy.identity import Identities, Identity
from cacheproxy.web.cache_rights import TOKEN
from cacheproxy.web.image_file import REQUEST_ID, RESULT
from cacheproxy.web.passthrough import SENT_BYTES
from cacheproxy.web.signed import path_for_logs

IDENTITIES = web.RequestKey("identities", Identities)  # of a request: who knows whose it is

access_log = logging.getLogger("cacheproxy.access")


class AccessLog(AbstractAccessLogger):
    """Writes lines as requests end; never waits."""

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return self.logger.isEnabledFor(logging.INFO)

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line, now or when it is known whose request it was."""
        line = '%s "%s %s%s" %d %d %.3fs %s %s %s' % (  # noqa: UP031  as the logger would
            request.remote or "-",
            request.method,
            path_for_logs(request.raw_path),
            "?…" if request.query_string else "",
            response.status,
            request.get(SENT_BYTES, 0),
            time,
            request.get(RESULT, "pass"),
            response.headers.get(REQUEST_ID, "-"),
            request.headers.get("X-OpenStack-Request-ID", "-"),
        )

        def write(identity: Identity | None) -> None:
            project = identity and identity.project_id
            self.logger.info(
                "%s %s %s", line, project or "-", identity.user_id if identity else "-"
            )

        identities = request.get(IDENTITIES)
        if identities is None:
            write(None)
        else:
            identities.tell(request.headers.get(TOKEN), write)
