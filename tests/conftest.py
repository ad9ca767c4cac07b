"""What every test can rely on: the rules, and the fixtures of the harness."""

import pytest

pytest.register_assert_rewrite("harness")

pytest_plugins = (
    "harness.rules",
    "harness.program",
    "harness.keystone",
    "harness.glance",
    "harness.catalog",
    "harness.images",
)
