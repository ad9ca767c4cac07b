"""Real services that keep images, and the options with which Glance is told of them.

Each runs on the core of the load: what is measured, the driver's process, has the other one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.scenario import MissingError
from bench.server import LOAD_CORE, pinned

if TYPE_CHECKING:
    from harness.swift import Swift

BUCKET = "images"


@dataclass(frozen=True, slots=True)
class Backing:
    """A running service, as a section `[glance_store]` names it."""

    kind: str  # of store, as Glance calls it
    options: Mapping[str, str]
    ours: Mapping[str, str] = field(default_factory=dict)  # what else our driver is told
    theirs: Mapping[str, str] = field(default_factory=dict)  # glance_store, as an expert would
    settle: Callable[[], object] = str  # frees what was deleted, where the service puts that off

    def written(self, file: Path, more: Mapping[str, str]) -> Path:
        """Write the options into a file as `glance-api.conf` has them."""
        lines = {"stores": self.kind, "default_store": self.kind, **self.options, **more}
        text = "\n".join(f"{name} = {value}" for name, value in lines.items())
        file.write_text(f"[glance_store]\n{text}\n")
        return file


# Runs a service with its files below a directory, for as long as the context lasts.
Service = Callable[[Path], AbstractContextManager[Backing]]


@contextmanager
def radosgw(home: Path) -> Iterator[Backing]:
    """S3, as Ceph's gateway speaks it."""
    from harness.ceph import running_ceph, running_gateway  # noqa: PLC0415  the command line says where

    with (
        installed(),
        pinned(LOAD_CORE),
        running_ceph(home) as ceph,
        running_gateway(ceph) as gateway,
    ):
        collect = partial(
            ceph.tool, "radosgw-admin", "-n", "client.rgw.a", "gc", "process", "--include-all"
        )
        backing = s3(gateway.url, gateway.access_key, gateway.secret_key)
        yield replace(backing, settle=collect)


@contextmanager
def rbd(home: Path, *, on_disk: bool = True) -> Iterator[Backing]:
    """Ceph's block devices, on one OSD whose data is on the disk, or in memory."""
    from harness.ceph import require_bindings, running_ceph  # noqa: PLC0415

    with installed(), pinned(LOAD_CORE), running_ceph(home, on_disk=on_disk) as ceph:
        require_bindings()
        options = {"rbd_store_pool": ceph.pool, "rbd_store_ceph_conf": str(ceph.configuration)}
        yield Backing("rbd", {**options, "rbd_store_user": "glance"})


@contextmanager
def swift(home: Path) -> Iterator[Backing]:
    """Swift, with Keystone."""
    from harness.keystone import GLANCE  # noqa: PLC0415

    with _swift(home) as running:
        yield Backing(
            "swift",
            {
                "swift_store_auth_address": running.keystone.url,
                "swift_store_auth_version": "3",
                "swift_store_user": f"{GLANCE.project}:{GLANCE.name}",
                "swift_store_key": GLANCE.password,
                "swift_store_create_container_on_put": "true",
                # Images of this size are cut, as larger ones are in production.
                "swift_store_large_object_size": "100",
                "swift_store_large_object_chunk_size": "64",
            },
        )


@contextmanager
def swift_s3(home: Path) -> Iterator[Backing]:
    """S3, as Swift speaks it."""
    from harness.keystone import GLANCE  # noqa: PLC0415

    with _swift(home) as running:
        yield s3(running.url, *running.ec2_keys(GLANCE))


@contextmanager
def _swift(home: Path) -> Iterator[Swift]:
    from harness.keystone import running_keystone  # noqa: PLC0415
    from harness.swift import running_swift  # noqa: PLC0415

    for name in ("keystone", "swift"):
        (home / name).mkdir(parents=True)
    with (
        installed(),
        pinned(LOAD_CORE),
        running_keystone(home / "keystone") as keystone,
        running_swift(home / "swift", keystone) as running,
    ):
        keystone.add_endpoint("object-store", f"{running.url}/v1/AUTH_$(project_id)s")
        yield running


@contextmanager
def free_s3(home: Path) -> Iterator[Backing]:
    """S3 that costs next to nothing (`bench.stores.standin`): what the drivers themselves can do."""
    from harness.program import REPOSITORY, Program, free_port  # noqa: PLC0415

    port = free_port()
    command = (sys.executable, "-m", "bench.stores.standin", str(port), str(home))
    with pinned(LOAD_CORE):
        program = Program(
            "s3", command, directory=home, environment={"PYTHONPATH": str(REPOSITORY)}
        )
    try:
        program.wait_for_port(port)
        yield s3(f"http://127.0.0.1:{port}", "access", "secret")
    finally:
        program.stop(codes=(-15,))


def s3(url: str, access_key: str, secret_key: str) -> Backing:
    return Backing(
        "s3",
        {
            "s3_store_host": url,
            "s3_store_access_key": access_key,
            "s3_store_secret_key": secret_key,
            "s3_store_bucket": BUCKET,
            "s3_store_create_bucket_on_put": "true",
            "s3_store_bucket_url_format": "path",
            "s3_store_large_object_chunk_size": "16",  # as experts have it: a part costs a service much
        },
    )


@contextmanager
def installed() -> Iterator[None]:
    """Turn the harness's word that something is not there into ours."""
    import pytest  # noqa: PLC0415  only who measures this needs it

    try:
        yield
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        raise MissingError(str(error)) from None
