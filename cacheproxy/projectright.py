"""May a project download an image?  Asked by the proxy's own account, when no token of it is left.

The answer follows from what the upstream shows: an active image that the project owns, or that is
public or for the community, or shared with it and accepted.  What it can not see: rules of the
upstream's own (policy files), and which roles the people of the project have, or had.
"""

from __future__ import annotations

from cacheproxy.account import Account
from cacheproxy.errors import AccountError, UpstreamAnswerError, UpstreamError
from cacheproxy.headers import Headers
from cacheproxy.imagerecord import image_record, member_status
from cacheproxy.permission import YES
from cacheproxy.upstream import Upstream

NO = 403
PROJECT = "X-Project-Id"  # how the question names its project; never sent
_FOR_ALL = frozenset({"public", "community"})
_TRIES = 2  # with a token that the upstream has refused, and with a new one


class ProjectRight:
    """Answers as the upstream would, had the project a token: 416 is yes, 403 no, None not known."""

    def __init__(self, upstream: Upstream, account: Account) -> None:
        self._upstream = upstream
        self._account = account

    async def may_download(self, image_id: str, headers: Headers) -> int | None:
        """Return the status of the question; `headers` name the project."""
        project = next(value for name, value in headers if name == PROJECT)
        for _ in range(_TRIES):
            own: Headers = []
            try:
                own = await self._account.headers()
                return YES if await self._may(image_id, project, own) else NO
            except UpstreamAnswerError as error:
                if error.status == 401:
                    self._account.refused(own)
                    continue
                return NO if error.status == 404 else None
            except (UpstreamError, AccountError):
                return None
        return None

    async def _may(self, image_id: str, project: str, own: Headers) -> bool:
        record = await image_record(self._upstream, image_id, own)
        if record.status != "active":
            return False
        if record.owner == project or record.visibility in _FOR_ALL:
            return True
        if record.visibility != "shared":
            return False
        return await member_status(self._upstream, image_id, project, own) == "accepted"
