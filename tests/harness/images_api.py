"""The Images API as tests arrange and look with it, in front of any Glance, catalog or proxy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.http import Answer, ask
from harness.waiting import until

OWNER = "0123456789abcdef0123456789abcdef"  # where nobody logs in, an image needs one nevertheless
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ImagesApi:
    """An endpoint, without /v2, and the headers of whoever asks."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, **more: Any) -> Answer:
        """Send a request to a path below /v2/images."""
        headers = {**self.headers, **more.pop("headers", {})}
        return ask(method, f"{self.url}/v2/images{path}", headers=headers, **more)

    def create(self, **properties: Any) -> str:
        """Create an image without data and return its id."""
        described = {"name": "test", "disk_format": "raw", "container_format": "bare"}
        if not self.headers:
            described["owner"] = OWNER
        answer = self.call("POST", "", document={**described, **properties})
        return str(answer.expect(201).json()["id"])

    def upload(self, image: str, data: bytes | Iterable[bytes], *, store: str = "") -> None:
        """Upload an image's data; an iterable goes in chunks without a length.

        Glance keeps them in the store of this name, else in its default one.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if store:
            headers["X-Image-Meta-Store"] = store
        self.call("PUT", f"/{image}/file", headers=headers, body=data).expect(204)

    def add(self, data: bytes | Path, **properties: Any) -> str:
        """Create an image with data and return its id."""
        image = self.create(**properties)
        self.upload(image, data if isinstance(data, bytes) else pieces(data))
        return image

    def add_located(self, url: str, data: bytes, **properties: Any) -> str:
        """Create an image whose data stay behind a URL, with their hashes; return its id."""
        image = self.create(**properties)
        hashes = {
            "checksum": hashlib.md5(data).hexdigest(),
            "os_hash_algo": "sha512",
            "os_hash_value": hashlib.sha512(data).hexdigest(),
        }
        location = {"url": url, "metadata": {"store": "web"}, "validation_data": hashes}
        patch = [{"op": "add", "path": "/locations/-", "value": location}]
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        self.call("PATCH", f"/{image}", headers=headers, document=patch).expect(200)
        return image

    def show(self, image: str) -> Any:
        """Return an image's record."""
        return self.call("GET", f"/{image}").expect(200).json()

    def download(self, image: str, span: str | None = None) -> Answer:
        """Download an image, or a span of it as a Range header says it (`0-99`, `-5`)."""
        headers = {} if span is None else {"Range": f"bytes={span}"}
        return self.call("GET", f"/{image}/file", headers=headers)

    def settle(self, image: str) -> None:
        """Wait until what was begun with an image has ended: an import, or hashing."""

        def settled() -> bool:
            record = self.call("GET", f"/{image}").json()
            busy = ("importing", "saving")
            hashed = record["os_hash_value"] or not record["os_hash_algo"]
            return (
                record["status"] not in busy and hashed and not record.get("os_glance_import_task")
            )

        until(f"{image} to be imported", settled)

    def delete(self, image: str) -> None:
        """Delete an image."""
        self.call("DELETE", f"/{image}").expect(204)


def pieces(path: Path) -> Iterable[bytes]:
    """Read a file piece by piece."""
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            yield piece
