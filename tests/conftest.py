"""What every test can rely on: the rules, and the fixtures of the harness."""

import os

import pytest
from hypothesis import settings

# No test has a time to keep: a machine may lose half of itself to its neighbours.  A gate tries the
# same examples each time; people who run the tests find new ones.
settings.register_profile("patient", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("patient")

pytest.register_assert_rewrite("harness", "fuzz", "differential")

pytest_plugins = (
    "harness.rules",
    "harness.program",
    "harness.keystone",
    "harness.glance",
    "harness.catalog",
    "harness.ceph",
    "harness.guest",
    "harness.images",
    "harness.mariadb",
    "harness.postgres",
    "harness.swift",
)
