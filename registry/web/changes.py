"""The feed of changes over HTTP: `/v2/cacheproxy/changes`; docs/changes.md is the contract."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import hdrs, web

from registry.domain.errors import InvalidRequestError
from registry.service.changes import ChangeFeed, ChangeQuestion
from registry.web.bodies import json_response, refuse_body
from registry.web.identity import IDENTITY

LIMIT_MAX = 1000  # changes in one answer
WAIT_SECONDS_MAX = 60  # shorter than what balancers and firewalls leave an idle connection


class ChangeHandlers:
    """The feed."""

    def __init__(self, feed: ChangeFeed) -> None:
        self._feed = feed

    async def changes(self, request: web.Request) -> web.Response:
        """GET: 200, or 410 where the feed does not reach back to `after`."""
        refuse_body(request)
        question = parse_question(dict(request.query.items()))
        page = await self._feed.ask(request[IDENTITY], question)
        document = {
            "changes": [
                {"seq": change.seq, "image_id": change.image_id, "change": change.kind}
                for change in page.changes
            ],
            "last": page.last,
            "epoch": page.epoch,
        }
        return json_response(document, headers={hdrs.CACHE_CONTROL: "no-store"})


def parse_question(query: Mapping[str, str]) -> ChangeQuestion:
    """Read a query string; `limit` and `wait` are cut to what is possible, as Glance cuts `limit`."""
    limit = _number("limit", query.get("limit", str(LIMIT_MAX)))
    if not limit:
        raise InvalidRequestError("limit must be a number from 1 on.")
    if ("after" in query) != ("epoch" in query):
        raise InvalidRequestError("after and epoch belong together.")
    return ChangeQuestion(
        behind=(query["epoch"], _number("after", query["after"])) if "after" in query else None,
        limit=min(limit, LIMIT_MAX),
        wait=min(_number("wait", query.get("wait", "0")), WAIT_SECONDS_MAX),
    )


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise InvalidRequestError(f"{name} must be a whole number, without a sign.")
    return int(text)
