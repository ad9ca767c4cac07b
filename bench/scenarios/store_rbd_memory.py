"""Images in Ceph's RBD, kept in memory: our driver against glance_store's, without a disk to wait for."""

from functools import partial

from bench.stores.comparison import scenario
from bench.stores.services import rbd

SCENARIO = scenario("store-rbd-memory", "Ceph RBD in memory", partial(rbd, on_disk=False))
