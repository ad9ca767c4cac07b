"""Images in Ceph radosgw's S3: our driver against glance_store's."""

from bench.stores.comparison import scenario
from bench.stores.services import radosgw

SCENARIO = scenario("store-s3", "Ceph radosgw's S3", radosgw)
