"""Answers of web servers, to the byte, for scripts of `harness.raw_origin`."""

from __future__ import annotations

from backends.location import Location
from harness.raw_origin import Peer, RawOrigin, Script

CONTENT = b"0123456789"
CHUNKED = "Transfer-Encoding: chunked"


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *headers, "\r\n")).encode() + body


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def once(data: bytes) -> Script:
    """Answer one request of each connection, then close it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)

    return script


def location_of(origin: RawOrigin, path: str = "/image") -> Location:
    return Location(origin.url + path)


def partial_content(told: str, body: bytes, *headers: str) -> bytes:
    return answer("206 Partial Content", f"Content-Range: {told}", *headers, body=body)
