"""The answers that the proxy gives by itself, and the one table of what errors mean to a client."""

from __future__ import annotations

import math
import socket
import struct

from aiohttp import web

from cacheproxy.connections import UpstreamDownError
from cacheproxy.errors import BusyError, ProofFailedError, ProxyError, UpstreamError

RETRY_AFTER_SECONDS = 1
SERVER = "cacheproxy"  # in answers of the proxy's own; versions are nobody's business


def error_response(
    status: int, text: str, retry_seconds: float = RETRY_AFTER_SECONDS
) -> web.Response:
    """Answer with a short plain text, which every Glance client can show."""
    headers = {"Retry-After": str(max(1, math.ceil(retry_seconds)))} if status == 503 else {}
    return web.Response(status=status, text=f"{status} {text}\n", headers=headers)


def response_for(error: ProxyError) -> web.Response:
    """Answer for an error met before the first byte of an answer was sent.

    503 is what Glance's clients try again (Nova: `num_retries` times, a second apart).
    """
    match error:
        case BusyError():
            return error_response(503, str(error))
        case ProofFailedError():
            return error_response(
                502, "the image service sends other bytes than its manifest names"
            )
        case UpstreamDownError():
            return error_response(503, "the image service is down", error.retry_seconds)
        case UpstreamError():
            return error_response(503, "the image service cannot be reached")
        case _:
            return error_response(500, "the image cannot be served now")


def reset(request: web.BaseRequest) -> None:
    """End the connection with a reset, so that nobody takes what was sent for the whole."""
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        with socket.fromfd(sock.fileno(), sock.family, sock.type) as copy:
            if copy.family in (socket.AF_INET, socket.AF_INET6):
                copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
