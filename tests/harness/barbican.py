"""A stand-in for Barbican, as its API guide describes the reading of a secret; it is not Barbican.

Barbican itself is no program that can be installed here beside the other services.  What asks it is
the real castellan with the real python-barbicanclient and a real Keystone's tokens, which this one
takes from everybody who has one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OCTETS = "application/octet-stream"


@dataclass(slots=True)
class Barbican:
    """Where it answers, and the certificates (PEM) that it holds, by their ids."""

    url: str
    certificates: dict[str, bytes]
    types: dict[str, str] = field(default_factory=dict)  # secrets that are something else
    refuses: bool = False  # everybody


@contextmanager
def running_barbican() -> Iterator[Barbican]:
    """Answer as long as the context lasts."""
    held = Barbican("", {})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                links = [{"rel": "self", "href": f"{held.url}/v1/"}]
                versions = [
                    {
                        "id": "v1",
                        "status": "CURRENT",
                        "min_version": "1.0",
                        "max_version": "1.1",
                        "links": links,
                    }
                ]
                self.answer(300, json.dumps({"versions": versions}).encode())
                return
            version, _, secret = self.path.strip("/").partition("/secrets/")
            certificate_id, _, part = secret.partition("/")
            if held.refuses or not self.headers.get("X-Auth-Token"):
                self.answer(403, b'{"title": "Forbidden", "code": 403}')
            elif version != "v1" or certificate_id not in held.certificates:
                self.answer(404, b'{"title": "Not Found", "code": 404}')
            elif part == "payload":
                self.answer(200, held.certificates[certificate_id], OCTETS)
            else:
                described = {
                    "name": "a certificate",
                    "status": "ACTIVE",
                    "secret_type": held.types.get(certificate_id, "certificate"),
                    "content_types": {"default": OCTETS},
                    "created": "2026-01-01T00:00:00.000000",
                    "updated": "2026-01-01T00:00:00.000000",
                    "algorithm": None,
                    "bit_length": None,
                    "mode": None,
                    "expiration": None,
                    "secret_ref": f"{held.url}/v1/secrets/{certificate_id}",
                }
                self.answer(200, json.dumps(described).encode())

        def answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
