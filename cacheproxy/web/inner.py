"""aiohttp's half of a connection: its request handler, and the transport that it is given.

It is used by composition, by its public surface alone: the lane feeds it bytes, and learns from
`finish_response` when an answer is written.  `tests/unit/cacheproxy/web/test_inner.py` fails if a
release of aiohttp does not do that any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from cacheproxy.web.outlet import Outlet

# The lane knows better when a connection is idle, as some requests never come here; aiohttp cannot
# be told to let it be.
NEVER_SECONDS = 1e9


class Connection(Protocol):
    """The connection that aiohttp has a part in."""

    @property
    def outlet(self) -> Outlet:
        """Its way out."""

    def begun(self) -> None:
        """An answer is on its way."""

    def answered(self, goes_on: bool) -> None:
        """An answer is written; `goes_on` unless the connection ends with it."""


class Inner(RequestHandler):
    """Answers what the fast lane does not."""

    __slots__ = ("lane",)

    def __init__(self, server: web.Server, lane: Connection, **options: Any) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=NEVER_SECONDS,
            **options,
        )
        self.lane = lane

    async def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        """Write the rest of an answer, and say so."""
        answered = await super().finish_response(request, resp, start_time)
        self.lane.answered(bool(resp.keep_alive))
        return answered


class Behind(asyncio.Transport):
    """The connection as aiohttp sees it: all of it, but for its end.

    aiohttp may want to end a connection that it takes for idle while the fast lane still sends.
    """

    def __init__(self, transport: asyncio.Transport, on_close: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._on_close = on_close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._on_close()

    def abort(self) -> None:
        self._transport.abort()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._transport.get_protocol()

    def is_reading(self) -> bool:
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._transport.writelines(list_of_data)
