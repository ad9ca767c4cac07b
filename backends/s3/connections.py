"""How botocore's requests are sent."""

from __future__ import annotations

from typing import Any

from aiobotocore.httpsession import AIOHTTPSession

READ_BUFFER_BYTES = 1 << 19  # received and not yet read, per answer


class _Straight:
    """Sends what it is given where it is sent to: like botocore itself, and unlike aiobotocore."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def request(self, method: str, **request: Any) -> Any:
        return self._session.request(
            method,
            allow_redirects=False,  # botocore looks for the bucket's region, and signs anew
            read_bufsize=READ_BUFFER_BYTES // 2,  # aiohttp stops reading at twice that
            **request,
        )


class S3Connections(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore has no types
    """Follows no redirect, and reads further ahead."""

    async def _get_session(self, proxy_url: str | None) -> _Straight:
        return _Straight(await super()._get_session(proxy_url))
