"""Whether the time of a refusal tells anything: not yours and not there, cached and not, side by side.

The upstream is a script that takes equally long over everything, so that what differs is the proxy's.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median, quantiles
from urllib.parse import urlsplit

from bench.daemons import proxy
from bench.images import MIB
from bench.scenario import Options, Report, Scenario, Table
from bench.server import Server

DELAY_SECONDS = 0.005  # of every answer of the upstream
TURNS = 200  # in each round
TURNS_QUICK = 5
SIZE = 4 * MIB
DATA = bytes(range(256)) * (SIZE // 256)
MINE, THEIRS = "mine", "theirs"  # tokens
VERSIONS = b'{"versions": [{"id": "v2.17", "status": "CURRENT", "links": []}]}'
RANGE = "bytes=9223372036854775807-"  # the question whether one may download

KINDS = ("not yours, cached", "not yours, not cached", "not there")


class _Glance(BaseHTTPRequestHandler):
    """A Glance with two images of one project; to another one they do not exist."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    images: frozenset[str] = frozenset()

    def do_GET(self) -> None:
        """Answer, after the same time whatever it is."""
        time.sleep(DELAY_SECONDS)
        parts = self.path.split("/")
        image = parts[3] if len(parts) > 3 else ""
        if self.path == "/versions":
            self._send(200, VERSIONS)
        elif image not in self.images or self.headers["X-Auth-Token"] != MINE:
            self._send(404, b"404 Not Found: no image found\n\n")
        elif self.path.endswith("/file"):
            asked = self.headers["Range"] == RANGE
            self._send(416 if asked else 200, b"" if asked else DATA)
        elif self.path.endswith(image):
            self._send(200, json.dumps(_record(image)).encode())
        else:
            self._send(404, b"404 Not Found\n\n")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-openstack-request-id", f"req-{uuid.uuid4()}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _record(image: str) -> dict[str, object]:
    return {
        "id": image,
        "status": "active",
        "size": SIZE,
        "owner": "somebody",
        "visibility": "private",
        "checksum": hashlib.md5(DATA).hexdigest(),
        "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(DATA).hexdigest(),
        "disk_format": "raw",
        "container_format": "bare",
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    }


@contextmanager
def _upstream(images: frozenset[str]) -> Iterator[str]:
    handler = type("Glance", (_Glance,), {"images": images})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _ask(node: Server, image: str, token: str) -> tuple[int, float]:
    """Ask for an image's data; the status, and the seconds that it took."""
    address = urlsplit(node.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    try:
        connection.connect()
        began = time.perf_counter()
        connection.request("GET", f"/v2/images/{image}/file", headers={"X-Auth-Token": token})
        answer = connection.getresponse()
        answer.read()
        return answer.status, time.perf_counter() - began
    finally:
        connection.close()


def run(options: Options) -> Report:
    """Be refused in each way, in turn, each time another one first."""
    cached, uncached = str(uuid.uuid4()), str(uuid.uuid4())
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    turns = (TURNS_QUICK if options.quick else TURNS) * options.rounds
    with (
        _upstream(frozenset({cached, uncached})) as upstream,
        proxy(options.directory, upstream) as node,
    ):
        for _ in range(2):
            status, _ = _ask(node, cached, MINE)
            if status != 200:
                raise RuntimeError(f"the image is not served: {status}")
        for turn in range(turns):
            for step in range(len(KINDS)):
                kind = KINDS[(turn + step) % len(KINDS)]
                image = {KINDS[0]: cached, KINDS[1]: uncached}.get(kind) or str(uuid.uuid4())
                status, taken = _ask(node, image, THEIRS)
                if status != 404:
                    raise RuntimeError(f"{kind}: {status}")
                seconds[kind].append(taken)
        hits = node.metrics()['cacheproxy_requests_total{result="hit"}']
    if hits != 1:
        raise RuntimeError("the image was not cached")
    table = Table(
        f"{turns} refusals of each kind, interleaved, a connection each; "
        f"the upstream takes {DELAY_SECONDS * 1000:g} ms an answer, and is asked twice",
        ("what", "median ms", "quarter below", "quarter above"),
    )
    for kind, times in seconds.items():
        low, _, high = quantiles(times, n=4)
        table.add(kind, *(round(each * 1000, 2) for each in (median(times), low, high)))
    medians = [median(times) for times in seconds.values()]
    apart = (max(medians) - min(medians)) * 1e6
    # What chance alone does: every second refusal of a kind against the others of it.
    chance = max(abs(median(t[::2]) - median(t[1::2])) for t in seconds.values()) * 1e6
    note = f"the medians are {apart:.0f} µs apart, those of two halves of one kind {chance:.0f} µs"
    return Report([table], notes=[note])


SCENARIO = Scenario("refusals", "whether the time of a refusal tells what is there, or cached", run)
