"""An S3 server that answers as a test says, and well where it says nothing."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from contracts.answers import answer
from harness.raw_origin import Peer, RawOrigin, Request, raw_origin

CUT = b""  # the connection is closed instead of an answer
UPLOAD = "an-upload"


def xml(name: str, **fields: str) -> bytes:
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in fields.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}>{inner}</{name}>'.encode()


def reply(status: str, body: bytes = b"", *headers: str) -> bytes:
    return answer(status, f"Content-Length: {len(body)}", *headers, body=body)


def refusal(status: str, code: str) -> bytes:
    return reply(status, xml("Error", Code=code, Message="m", RequestId="r"))


def found(mark: str | None = None, size: int = 10) -> bytes:
    """Answer a HEAD."""
    headers = [] if mark is None else [f"x-amz-meta-write: {mark}"]
    return answer("200 OK", f"Content-Length: {size}", 'ETag: "tag"', *headers)


NOT_FOUND = answer("404 Not Found", "Content-Length: 0")
WELL = {
    "head bucket": reply("200 OK"),
    "head": NOT_FOUND,
    "get": refusal("404 Not Found", "NoSuchKey"),
    "put": reply("200 OK", b"", 'ETag: "tag"'),
    "begin": reply("200 OK", xml("InitiateMultipartUploadResult", UploadId=UPLOAD)),
    "part": reply("200 OK", b"", 'ETag: "part"'),
    "complete": reply("200 OK", xml("CompleteMultipartUploadResult", ETag="tag")),
    "abort": refusal("404 Not Found", "NoSuchUpload"),
    "delete": reply("204 No Content"),
    "make bucket": reply("200 OK"),
}

Answer = bytes | Callable[["ScriptedS3"], bytes | Awaitable[bytes]]


@dataclass
class ScriptedS3:
    """What was asked of the server."""

    origin: RawOrigin
    script: dict[str, deque[Answer]]
    asked: Counter[str] = field(default_factory=Counter)
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.origin.url

    @property
    def mark(self) -> str:
        """The mark of the last write that said one."""
        marks = [request.one("x-amz-meta-write") for request in self.requests]
        return [mark for mark in marks if mark is not None][-1]

    async def serve(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            kind = kind_of(request)
            self.asked[kind] += 1
            self.requests.append(request)
            waiting = self.script.get(kind)
            told = waiting.popleft() if waiting else WELL[kind]
            data = told if isinstance(told, bytes) else told(self)
            if not isinstance(data, bytes):
                data = await data
            await peer.send(data)
            if not data.startswith(b"HTTP/1.1 ") or b"Connection: close" in data:
                return


def kind_of(request: Request) -> str:
    target = urlsplit(request.target)
    query = parse_qs(target.query, keep_blank_values=True)
    if target.path.count("/") == 1:
        return {"HEAD": "head bucket", "PUT": "make bucket"}[request.method]
    match request.method, "uploadId" in query:
        case "POST", upload:
            return "complete" if upload else "begin"
        case "PUT", upload:
            return "part" if upload else "put"
        case "DELETE", upload:
            return "abort" if upload else "delete"
        case method, _:
            return method.lower()


@asynccontextmanager
async def scripted_s3(
    script: Mapping[str, Iterable[Answer]] | None = None,
) -> AsyncIterator[ScriptedS3]:
    """Serve; for each kind of request the answers to the first, the second, …"""
    scripted = ScriptedS3(
        RawOrigin(), {kind: deque(answers) for kind, answers in (script or {}).items()}
    )
    async with raw_origin(scripted.serve) as origin:
        scripted.origin = origin
        yield scripted
