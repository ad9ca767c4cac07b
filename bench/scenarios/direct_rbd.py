"""Cold images straight from Ceph's RBD, against the same through Glance."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.stores.direct import scenario

if TYPE_CHECKING:
    from harness.keystone import Keystone
    from harness.stores import Store


def _started(stack: ExitStack, home: Path, _: Keystone) -> Store:
    from harness.ceph import require_bindings, running_ceph  # noqa: PLC0415  see the command line
    from harness.services import python_of  # noqa: PLC0415
    from harness.stores import rbd_store  # noqa: PLC0415

    require_bindings()
    require_bindings(python_of("glance"))
    return rbd_store(stack.enter_context(running_ceph(home)))


SCENARIO = scenario("direct-rbd", "RBD", _started)
