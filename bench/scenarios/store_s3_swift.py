"""Images in Swift's S3: our driver against glance_store's."""

from bench.stores.comparison import scenario
from bench.stores.services import swift_s3

SCENARIO = scenario("store-s3-swift", "Swift's S3", swift_s3)
