"""Stores that a Glance keeps images in: what its configuration says of them, and who counts reads.

swift_store(swift, directory)      # each image is one object; the account's password is in its location
segments_store(swift, directory)   # large objects of segments; the location names the account only
swift_s3_store(swift)
ceph_s3_store(ceph, gateway)
rbd_store(ceph)
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from harness.ceph import Ceph, Gateway
from harness.images_api import ImagesApi
from harness.keystone import GLANCE
from harness.program import Program
from harness.swift import Swift

REGION = "RegionOne"
ACCOUNT = f"{GLANCE.project}:{GLANCE.name}"

REFERENCES = """
[ref1]
user = {account}
key = {key}
auth_version = 3
auth_address = {keystone}
project_domain_id = default
user_domain_id = default
"""


@dataclass(frozen=True, slots=True)
class Store:
    """A store by the name that Glance's configuration gives it."""

    name: str
    kind: str
    options: Mapping[str, str]
    read_bytes: Callable[[], int]  # so far, from the whole system that it is in
    programs: Callable[[], Sequence[Program]]  # without which it gives nothing
    sized: bool = True  # whether it is told the length of what is uploaded

    @property
    def url(self) -> str:
        """Where a store of Swift or S3 is reached."""
        if self.kind == "s3":
            return self.options["s3_store_host"]
        parts = urlsplit(self.options["swift_store_endpoint"])
        return f"{parts.scheme}://{parts.netloc}"

    def section(self) -> str:
        """Return what a configuration says of it."""
        lines = [f"{name} = {value}" for name, value in self.options.items()]
        return "\n".join([f"[{self.name}]", *lines, ""])

    def upload(self, api: ImagesApi, image: str, data: bytes) -> None:
        """Upload an image's data into this store."""
        api.upload(image, data if self.sized else iter([data]), store=self.name)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the store stand still: its connections stay, and nobody answers."""
        programs = self.programs()
        for program in programs:
            program.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for program in programs:
                program.process.send_signal(signal.SIGCONT)

    def by_way_of(self, url: str) -> Store:
        """Return this store of Swift or S3 as it is configured where it is reached through `url`."""
        if self.kind == "s3":
            return self._changed(s3_store_host=url)
        path = urlsplit(self.options["swift_store_endpoint"]).path
        return self._changed(swift_store_endpoint=url + path)

    def _changed(self, **options: str) -> Store:
        return replace(self, options={**self.options, **options})


def swift_store(swift: Swift) -> Store:
    """Return a store whose images are objects of Swift, and whose locations tell the password."""
    options = {
        "swift_store_auth_version": "3",
        "swift_store_auth_address": swift.keystone.url,
        "swift_store_user": ACCOUNT,
        "swift_store_key": GLANCE.password,
        "swift_store_container": "plain",
        "swift_store_create_container_on_put": "true",
        "swift_store_region": REGION,
        "swift_store_endpoint": swift.account(GLANCE),
    }
    return Store("swift", "swift", options, swift.read_bytes, lambda: [swift.proxy])


def segments_store(swift: Swift, directory: Path) -> Store:
    """Return a store whose images are large objects of Swift; its references are in `directory`.

    Glance makes them of images whose length nobody tells.  Where it is told and no multiple of the
    segments', glance_store 5.7 promises Swift more than the last one has, and waits for ever.
    """
    references = directory / "swift-references.conf"
    references.write_text(
        REFERENCES.format(account=ACCOUNT, key=GLANCE.password, keystone=swift.keystone.url)
    )
    options = {
        "swift_store_config_file": str(references),
        "default_swift_reference": "ref1",
        "swift_store_container": "segments",
        "swift_store_create_container_on_put": "true",
        "swift_store_region": REGION,
        "swift_store_endpoint": swift.account(GLANCE),
        "swift_store_large_object_chunk_size": "1",
    }
    return Store("segments", "swift", options, swift.read_bytes, lambda: [swift.proxy], sized=False)


def swift_s3_store(swift: Swift) -> Store:
    """Return a store whose images are objects that Swift's S3 API takes."""
    options = _s3_options(swift.url, *swift.ec2_keys(GLANCE))
    options["s3_store_region_name"] = "us-east-1"  # and Ceph has none of that name
    return Store("s3", "s3", options, swift.read_bytes, lambda: [swift.proxy])


def ceph_s3_store(ceph: Ceph, gateway: Gateway) -> Store:
    """Return a store whose images are objects of Ceph's S3 gateway."""
    options = _s3_options(gateway.url, gateway.access_key, gateway.secret_key)
    return Store("gateway", "s3", options, ceph.read_bytes, lambda: [ceph.osd])


def rbd_store(ceph: Ceph) -> Store:
    """Return a store whose images are RBD images of Ceph."""
    options = {"rbd_store_pool": ceph.pool, "rbd_store_ceph_conf": str(ceph.configuration)}
    return Store("rbd", "rbd", options, ceph.read_bytes, lambda: [ceph.osd])


def _s3_options(url: str, access: str, secret: str) -> dict[str, str]:
    return {
        "s3_store_host": url,
        "s3_store_access_key": access,
        "s3_store_secret_key": secret,
        "s3_store_bucket": "glance-images",
        "s3_store_create_bucket_on_put": "true",
        "s3_store_bucket_url_format": "path",
    }
