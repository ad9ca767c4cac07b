"""Cold images straight from S3, against the same through Glance."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.stores.direct import scenario

if TYPE_CHECKING:
    from harness.keystone import Keystone
    from harness.stores import Store


def _started(stack: ExitStack, home: Path, _: Keystone) -> Store:
    from harness.ceph import running_ceph, running_gateway  # noqa: PLC0415  see the command line
    from harness.stores import ceph_s3_store  # noqa: PLC0415

    ceph = stack.enter_context(running_ceph(home))
    return ceph_s3_store(ceph, stack.enter_context(running_gateway(ceph)))


SCENARIO = scenario("direct-s3", "S3 (radosgw)", _started)
