"""May a project download an image?  Asked by the proxy's own account, when no token of it is left.

The answer follows from what the upstream shows: an active image that the project owns, or that is
public or for the community, or shared with it and accepted.  What it can not see: rules of the
upstream's own (policy files), and which roles the people of the project have, or had.
"""

from __future__ import annotations

from cacheproxy.account import Account
from cacheproxy.core.judgement import Verdict
from cacheproxy.errors import AccountError, UpstreamAnswerError, UpstreamError
from cacheproxy.headers import Headers
from cacheproxy.imagerecord import image_record, member_status
from cacheproxy.upstream import Upstream

PROJECT = "X-Project-Id"  # how the question names its project; never sent
_FOR_ALL = frozenset({"public", "community"})
_TRIES = 2  # with a token that the upstream has refused, and with a new one


class ProjectRight:
    """Answers as the upstream would, had the project a token."""

    def __init__(self, upstream: Upstream, account: Account) -> None:
        self._upstream = upstream
        self._account = account

    async def may_download(
        self,
        image_id: str,
        headers: Headers,
        query: str = "",  # noqa: ARG002  signed URLs have none
    ) -> Verdict:
        """Tell what follows from the image's record; `headers` name the project."""
        project = next(value for name, value in headers if name == PROJECT)
        for _ in range(_TRIES):
            own: Headers = []
            try:
                own = await self._account.headers()
                may = await self._may(image_id, project, own)
                return Verdict.ALLOWED if may else Verdict.REFUSED
            except UpstreamAnswerError as error:
                if error.status == 401:
                    self._account.refused(own)
                    continue
                return Verdict.REFUSED if error.status == 404 else Verdict.SILENT
            except (UpstreamError, AccountError):
                return Verdict.SILENT
        return Verdict.SILENT

    async def _may(self, image_id: str, project: str, own: Headers) -> bool:
        record = await image_record(self._upstream, image_id, own)
        if record.status != "active":
            return False
        if record.owner == project or record.visibility in _FOR_ALL:
            return True
        if record.visibility != "shared":
            return False
        return await member_status(self._upstream, image_id, project, own) == "accepted"
