"""Cold images straight from Swift, against the same through Glance."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.stores.direct import scenario

if TYPE_CHECKING:
    from harness.keystone import Keystone
    from harness.stores import Store


def _started(stack: ExitStack, home: Path, keystone: Keystone) -> Store:
    from harness.stores import swift_store  # noqa: PLC0415  the command line says where
    from harness.swift import running_swift  # noqa: PLC0415

    swift = stack.enter_context(running_swift(home, keystone))
    keystone.add_endpoint("object-store", f"{swift.url}/v1/AUTH_$(project_id)s")
    return swift_store(swift)


SCENARIO = scenario("direct-swift", "Swift", _started)
