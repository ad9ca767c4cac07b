"""The same conversation twice, with Glance itself and with the proxy, compared on the wire.

What changes something is asked in two worlds, each with images of its own; what only reads is asked
about the same images in both ways, of the proxy twice (cold and warm).
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from harness.images import random_bytes
from harness.recorder import Asked, made_id
from harness.relay import LIMIT_BYTES, Client, Reply, chunked

PIECE_BYTES = 64 << 10
REPLY_SECONDS = 60.0

# An id that the request brought comes back as it is.
_REQUEST_ID = re.compile(r"req-(?!0{8})[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?")


@dataclass
class World:
    """One way to ask, and what the names of a recording are there."""

    url: str
    number: int
    values: dict[str, str]  # by name
    made: int = 0

    def encoded(self, asked: Asked, url: str | None = None) -> bytes:
        """Write a request to the wire as its client did."""
        host = urlsplit(url or self.url).netloc
        body = asked.body
        if isinstance(body, str):
            body_bytes = self._filled(body).encode()
        else:
            body_bytes = b"" if body is None else random_bytes(body, seed=body)
        lines = [f"{asked.method} {self._filled(asked.target)} HTTP/1.1"]
        framed = body_bytes
        for name, value in asked.fields:
            meant = value.replace("<host>", host).replace("<length>", str(len(body_bytes)))
            lines.append(f"{name}: {self._filled(meant)}")
            if name.lower() == "transfer-encoding":
                pieces = [
                    body_bytes[at : at + PIECE_BYTES]
                    for at in range(0, len(body_bytes), PIECE_BYTES)
                ]
                framed = chunked(*pieces)
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + framed

    def learn(self, reply: Reply) -> None:
        """Take note of what was made."""
        if reply.status == 201 and (made := made_id(reply.body)):
            self.made += 1
            self.values[f"<new-{self.made}>"] = made

    def _filled(self, text: str) -> str:
        for name, value in self.values.items():
            text = text.replace(name, value)
        return text.replace("in-world-0", f"in-world-{self.number}")

    def plain(self, text: str, url: str) -> str:
        """Return a text without what belongs to this world, this way and this moment."""
        text = text.replace(url, "<endpoint>").replace(urlsplit(url).netloc, "<host>")
        for name, value in self.values.items():
            if name.startswith("<new-"):
                text = text.replace(value, name)
        text = text.replace(f"in-world-{self.number}", "in-world-0")
        return _TIME.sub("<time>", _REQUEST_ID.sub("<request-id>", text))


@dataclass(frozen=True, slots=True)
class Contrast:
    """One thing in which the proxy's answer is not Glance's."""

    asked: Asked
    what: str  # `status`, `reason`, `body`, or the name of a header field
    glance: str | None  # None: it is not there
    proxy: str | None
    reply: Reply = field(repr=False)  # all of the proxy's
    direct: Reply = field(repr=False)  # all of Glance's

    def __str__(self) -> str:
        glance, proxy = (repr(each)[:300] for each in (self.glance, self.proxy))
        return f"{self.asked.method} {self.asked.target}: {self.what}: {glance} -> {proxy}"


async def exchange(url: str, request: bytes, method: str) -> Reply:
    """Send a request on a connection of its own; the answer may come before its end."""
    parts = urlsplit(url)
    streams = await asyncio.open_connection(parts.hostname, parts.port, limit=LIMIT_BYTES)
    client = Client(*streams)
    try:
        async with asyncio.timeout(REPLY_SECONDS):
            with suppress(ConnectionError):
                await client.send(request)
            return await client.reply(method)
    finally:
        await client.leave()


async def compare(
    asked: Asked, direct: World, proxied: World, settle: Callable[[Asked, Reply, World], None]
) -> tuple[Reply, list[Contrast]]:
    """Ask both; return Glance's own answer, and all in which the proxy's are different.

    `settle` waits, after each change, for what Glance goes on doing.
    """
    if not asked.reads:
        ours = await exchange(direct.url, direct.encoded(asked), asked.method)
        direct.learn(ours)
        settle(asked, ours, direct)
        theirs = await exchange(proxied.url, proxied.encoded(asked), asked.method)
        proxied.learn(theirs)
        settle(asked, theirs, proxied)
        glance = _plain(ours, direct, direct.url)
        return ours, list(_contrasts(asked, glance, _plain(theirs, proxied, proxied.url)))
    ours = await exchange(direct.url, proxied.encoded(asked, direct.url), asked.method)
    glance = _plain(ours, proxied, direct.url)
    found: list[Contrast] = []
    for _ in ("cold", "warm"):
        theirs = await exchange(proxied.url, proxied.encoded(asked), asked.method)
        found += _contrasts(asked, glance, _plain(theirs, proxied, proxied.url))
    return ours, found


def _plain(reply: Reply, world: World, url: str) -> Reply:
    fields = []
    for name, value in reply.fields:
        plain = world.plain(value, url)
        if name.lower() == "date":
            assert parsedate_to_datetime(value)
            plain = "<date>"
        fields.append((name, plain))
    body = reply.body
    with suppress(UnicodeDecodeError):
        body = world.plain(body.decode(), url).encode()
    # The length is that of the text with other names in it.
    length = str(len(body))
    fields = [
        (
            name,
            length if name.lower() == "content-length" and value == str(len(reply.body)) else value,
        )
        for name, value in fields
    ]
    return Reply(reply.status, reply.reason, fields, body)


def _contrasts(asked: Asked, glance: Reply, proxy: Reply) -> Iterator[Contrast]:
    def contrast(what: str, one: str | None, other: str | None) -> Contrast:
        return Contrast(asked, what, one, other, proxy, glance)

    if glance.status != proxy.status:
        yield contrast("status", str(glance.status), str(proxy.status))
    if glance.reason != proxy.reason:
        yield contrast("reason", glance.reason, proxy.reason)
    if glance.body != proxy.body:
        yield contrast("body", repr(glance.body), repr(proxy.body))
    absent, added = Counter(glance.fields), Counter(proxy.fields)
    absent, added = absent - added, added - absent
    names = {name for name, _ in [*absent.elements(), *added.elements()]}
    for name in sorted(names):
        before = [value for key, value in absent.elements() if key == name]
        after = [value for key, value in added.elements() if key == name]
        yield contrast(name, ", ".join(before) or None, ", ".join(after) or None)
