"""What every test can rely on: the rules, and the fixtures of the harness."""

import pytest
from hypothesis import settings

# No test has a time to keep: this machine may lose half of itself to its neighbours.
settings.register_profile("patient", deadline=None, print_blob=True)
settings.load_profile("patient")

pytest.register_assert_rewrite("harness")

pytest_plugins = (
    "harness.rules",
    "harness.program",
    "harness.keystone",
    "harness.glance",
    "harness.catalog",
    "harness.images",
)
