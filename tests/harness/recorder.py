"""A relay in front of an image service that writes down what clients ask.

A recording is a list of requests in the order they came, each with the status it got.  What is
another value the next time has a name instead: `<host>`, `<length>`, `<new-1>` (the id in the first
answer that made something), and whatever the recorder is told (`<member>` for a token).  Image data
are random bytes of the same length.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cacheproxy.headers import relayed

RECORDINGS = Path(__file__).parents[1] / "recordings"
READING = ("GET", "HEAD", "OPTIONS")
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a recording."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]  # in order, as they were spelt
    body: str | int | None  # text, or the size of image data
    status: int

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.method in READING


class Recorder:
    """What was asked so far, and the names of what will be another value the next time."""

    def __init__(self, names: dict[str, str]) -> None:
        """Begin with names by value."""
        self.asked: list[Asked] = []
        self._names = dict(names)
        self._made = 0
        self._lock = threading.Lock()

    def note(
        self,
        method: str,
        target: str,
        fields: list[tuple[str, str]],
        body: bytes | None,
        status: int,
        answer: bytes,
    ) -> None:
        """Write down a request, unless the same was read since the last change."""
        with self._lock:
            asked = Asked(
                method,
                self._named(target),
                tuple((name, self._field(name, value)) for name, value in fields),
                self._body(fields, body),
                status,
            )
            if asked.reads:
                for before in reversed(self.asked):
                    if not before.reads:
                        break
                    if before == asked:
                        return
            self.asked.append(asked)
            if status == 201 and (made := made_id(answer)):
                self._made += 1
                self._names[made] = f"<new-{self._made}>"

    def _body(self, fields: list[tuple[str, str]], body: bytes | None) -> str | int | None:
        if body is None:
            return None
        kind = next((value for name, value in fields if name.lower() == "content-type"), "")
        return len(body) if kind == "application/octet-stream" else self._named(body.decode())

    def _field(self, name: str, value: str) -> str:
        match name.lower():
            case "host":
                return "<host>"
            case "content-length":
                return "<length>"
            case "user-agent":
                return value.partition(" ")[0].partition("/")[0]  # without versions
            case "x-auth-token" | "x-service-token":
                return self._names.get(value, "<service>")  # services log in by themselves
            case "x-openstack-request-id":
                return "req-00000000-0000-4000-8000-000000000000"
            case _:
                return self._named(value)

    def _named(self, text: str) -> str:
        for value, name in self._names.items():
            text = text.replace(value, name)
        return text


def made_id(answer: bytes) -> str | None:
    """Return the id of what an answer says was made."""
    try:
        document: Any = json.loads(answer)
    except ValueError:
        return None
    return document.get("id") if isinstance(document, dict) else None


@contextmanager
def recording(url: str, names: dict[str, str]) -> Iterator[tuple[str, Recorder]]:
    """Relay to `url`; give the relay's own URL, and what it hears."""
    recorder = Recorder(names)
    target = urlsplit(url)

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            fields = list(self.headers.items())
            body = self._body()
            upstream = http.client.HTTPConnection(
                target.hostname or "", target.port, timeout=SECONDS
            )
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in relayed(fields, "host", "content-length"):
                upstream.putheader(name, value)
            upstream.putheader("Host", target.netloc)
            if body is not None:
                upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body)
            answer = upstream.getresponse()
            got = answer.read()
            upstream.close()
            recorder.note(self.command, self.path, fields, body, answer.status, got)
            self.send_response_only(answer.status, answer.reason)
            for name, value in relayed(answer.getheaders(), "content-length"):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(got)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(got)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = relay  # noqa: N815  its names

        def _body(self) -> bytes | None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = bytearray()
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return bytes(body)
            length = self.headers.get("Content-Length")
            return None if length is None else self.rfile.read(int(length))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name for it
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exception(), ConnectionError):  # the client left
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Relay)
    thread = threading.Thread(target=server.serve_forever, name="recorder")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", recorder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def save(name: str, asked: list[Asked]) -> None:
    """Keep a recording."""
    lines = ",\n".join(json.dumps(asdict(each)) for each in asked)
    RECORDINGS.mkdir(exist_ok=True)
    (RECORDINGS / f"{name}.json").write_text(f"[\n{lines}\n]\n")


def load(name: str) -> list[Asked]:
    """Return a recording that is kept."""
    return [
        Asked(**{**each, "fields": tuple((name, value) for name, value in each["fields"])})
        for each in json.loads((RECORDINGS / f"{name}.json").read_text())
    ]
