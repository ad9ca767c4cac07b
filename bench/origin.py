"""An nginx that stands in for Glance: images, made before, from files, as fast as this machine gives them.

It answers what proxies ask of our catalog: `/versions`, an image's record, its data with ranges,
whether the caller may download it (both questions of docs/authorisation.md), and of images that
are published the manifest (docs/manifest.md).  Everybody may have everything.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from backends.manifest import (
    DIGEST_BYTES,
    PAGE_BYTES,
    REQUEST_PAGES_MAX,
    ManifestName,
    ManifestRoot,
    ManifestShape,
)
from bench.daemons import free_port
from bench.load import Target
from bench.peers.peer import program, started
from bench.server import LOAD_CORE, Server, path_of

CHUNK_BYTES = 1 << 20  # of manifests, and of what is hashed at once

# Glance sends neither entity tags nor dates with data, and its own request id with everything; the
# range that no image has gets a bare 416 (nginx's own names the size, as caches do).  The log is
# what counts the bytes: a line for each answer with data, written when it has ended.
_CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log crit;
events {{ worker_connections 4096; }}
http {{
    log_format sent "$body_bytes_sent";
    map "$status $uri" $carries {{ "~^20[06] /[^/]+/data$" 1; default 0; }}
    access_log {home}/sent sent if=$carries;
    client_body_temp_path {home}/t1; proxy_temp_path {home}/t2;
    fastcgi_temp_path {home}/t3; uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
    sendfile on;
    tcp_nodelay on;
    tcp_nopush off;
    keepalive_requests 1000000000;
    limit_rate {rate};
    open_file_cache max=4096 inactive=1h;
    open_file_cache_valid 1h;
    etag off;
    max_ranges 1;
    add_header Last-Modified "";
    add_header X-Openstack-Request-Id req-$request_id always;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {images};
        location = /versions {{ default_type application/json; return 200 '{{"versions": []}}'; }}
        location ~ ^/v2/images/(?<image>[^/]+)$ {{
            default_type application/json;
            try_files /$image/record =404;
        }}
        location ~ ^/v2/images/(?<image>[^/]+)/file$ {{
            default_type application/octet-stream;
            if ($http_range = "bytes=9223372036854775807-") {{ return 416 ""; }}
            try_files /$image/data =404;
        }}
        location ~ ^/v2/images/[^/]+/download-right$ {{ return 204; }}
        location ~ ^/v2/images/(?<image>[^/]+)/manifest$ {{
            default_type application/vnd.cacheproxy.manifest;
            try_files /$image/manifest$arg_page+$arg_pages =404;
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that an origin can serve."""

    id: str
    size: int
    sha512: str
    directory: Path  # its record, data and manifest

    @property
    def target(self) -> Target:
        """Where every server serves its data."""
        return Target(path_of(self.id), self.size)

    @property
    def data(self) -> Path:
        """The file of its data."""
        return self.directory / "data"


class Origin(Server):
    """The running origin, and what it sent."""

    def sent(self) -> tuple[int, int]:
        """Return the bytes of image data so far, and in how many answers, those that have ended."""
        lines = (self.log.parent / "sent").read_text().split()
        return sum(map(int, lines)), len(lines)


def image(home: Path, size: int, *, published: bool = True, seed: int = 0) -> Image:
    """Make an image of random bytes below `home`, or find it there; the same seed, the same image."""
    chance = random.Random(f"{seed} {size} {published}")
    image_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    directory = home / "images" / image_id
    record = directory / "record"
    if not record.exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        described = {
            "id": image_id,
            "name": "bench",
            "status": "active",
            "visibility": "public",
            "owner": "bench",
            "container_format": "bare",
            "disk_format": "raw",
            "size": size,
            "created_at": "2026-01-01T00:00:00Z",
            **_write(directory, size, chance, published=published),
        }
        record.write_text(json.dumps(described))
    known = json.loads(record.read_text())
    return Image(image_id, size, known["os_hash_value"], directory)


def _write(
    directory: Path, size: int, chance: random.Random, *, published: bool
) -> dict[str, str | None]:
    """Write data and manifest; the fields of the record that follow from them."""
    md5, sha512, digests = hashlib.md5(), hashlib.sha512(), bytearray()
    with (directory / "data").open("wb") as file:
        for start in range(0, size, CHUNK_BYTES):
            chunk = chance.randbytes(min(CHUNK_BYTES, size - start))
            file.write(chunk)
            md5.update(chunk)
            sha512.update(chunk)
            digests += blake3(chunk).digest()
        file.flush()
        os.fsync(file.fileno())  # nothing of it is to be written while something is measured
    return {
        "checksum": md5.hexdigest(),
        "os_hash_algo": "sha512",
        "os_hash_value": sha512.hexdigest(),
        "os_manifest": _publish(directory, size, bytes(digests)) if published else None,
    }


def _publish(directory: Path, size: int, digests: bytes) -> str:
    """Write the manifest, a file for each answer: `manifest+` is the root; its name."""
    pages = [digests[at : at + PAGE_BYTES] for at in range(0, len(digests), PAGE_BYTES)]
    for first in range(len(pages)):
        for stop in range(first + 1, min(len(pages), first + REQUEST_PAGES_MAX) + 1):
            asked = directory / f"manifest{first}+{stop - first}"
            asked.write_bytes(b"".join(pages[first:stop]))
    page_digests = b"".join(blake3(page).digest() for page in pages)
    assert len(page_digests) == DIGEST_BYTES * len(pages)
    root = ManifestRoot(ManifestShape(size, CHUNK_BYTES), page_digests).pack()
    (directory / "manifest+").write_bytes(root)
    return str(ManifestName(CHUNK_BYTES, blake3(root).digest()))


@contextmanager
def origin(home: Path, images: Sequence[Image], *, rate: int = 0) -> Iterator[Origin]:
    """Serve these images on the load's core, with what it writes in `home`; MissingError without nginx.

    `rate` is how many bytes each answer has in a second; 0: as many as go.
    """
    binary = program("nginx", "nginx-light")
    home.mkdir(parents=True, exist_ok=True)
    (root,) = {each.directory.parent for each in images}
    port = free_port()
    configuration = home / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            home=home.resolve(),
            images=root.resolve(),
            port=port,
            rate=rate,
            user="user root;" if os.geteuid() == 0 else "",
        )
    )
    command = [
        binary,
        "-p",
        str(home.resolve()),
        "-c",
        str(configuration.resolve()),
        "-e",
        "stderr",
    ]
    with started("origin", command, home, port, cores=[LOAD_CORE]) as server:
        yield Origin(**vars(server))
