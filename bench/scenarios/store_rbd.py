"""Images in Ceph's RBD: our driver against glance_store's."""

from bench.stores.comparison import scenario
from bench.stores.services import rbd

SCENARIO = scenario("store-rbd", "Ceph RBD on a disk", rbd)
