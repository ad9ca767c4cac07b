"""What the contracts of stores have for themselves: they hold that nothing is left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.ceph import Ceph, make_pool

POOL = "contracts"


@pytest.fixture(scope="session")
def ceph(ceph: Ceph) -> Ceph:
    """Return the run's Ceph with a pool that nobody else writes to."""
    make_pool(ceph, POOL)
    return replace(ceph, pool=POOL)
