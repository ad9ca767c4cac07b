"""Images in Swift: our driver against glance_store's."""

from bench.stores.comparison import scenario
from bench.stores.services import swift

SCENARIO = scenario("store-swift", "Swift", swift)
