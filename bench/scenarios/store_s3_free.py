"""Images in S3 that costs nothing: our driver against glance_store's, without a service to wait for."""

from bench.stores.comparison import scenario
from bench.stores.services import free_s3

SCENARIO = scenario("store-s3-free", "S3 that costs nothing", free_s3)
