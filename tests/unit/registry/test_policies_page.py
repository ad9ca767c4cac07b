"""docs/policies.md tells what the program does, by the tables that tests ask Glance and it about."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.roles import CALLS, OTHER_CALLS, OUR_CALLS, OUR_OTHER_CALLS, ROLES, VISIBILITIES
from harness.roles_table import (
    OTHERS,
    OUR_OTHERS,
    OUR_TABLE,
    TABLE,
    metadef_roles_page,
    roles_page,
    rules_page,
)
from registry.keystone.options import KeystoneSettings
from registry.policy.policy import LOOK_SECONDS
from registry.policy.rules import RULES

PAGE = (Path(__file__).parents[3] / "docs/policies.md").read_text()
DEFAULTS = KeystoneSettings("http://keystone")


@pytest.mark.parametrize("table", [rules_page, roles_page, metadef_roles_page])
def test_its_tables(table: object) -> None:
    assert callable(table)
    assert table() in PAGE, "run: PYTHONPATH=.:tests python -m harness.roles_table"


@pytest.mark.parametrize(
    "told",
    [
        f"`token_cache_time` ({DEFAULTS.cache_seconds})",
        f"`http_connect_timeout` ({DEFAULTS.request_seconds})",
        f"`http_request_max_retries` ({DEFAULTS.retries})",
        f"within {LOOK_SECONDS:g} seconds",
    ],
)
def test_it_names_what_holds(told: str) -> None:
    assert told in " ".join(PAGE.split())


def test_the_tables_are_about_the_same_calls() -> None:
    assert list(TABLE) == list(CALLS)
    assert list(OTHERS) == list(OTHER_CALLS)
    assert list(OUR_TABLE) == list(OUR_CALLS)
    assert list(OUR_OTHERS) == list(OUR_OTHER_CALLS)
    for rows in (TABLE | OUR_TABLE).values():
        assert len(rows) == len(VISIBILITIES)
        assert {len(row.split()) for row in rows} == {len(ROLES)}
    for row in (OTHERS | OUR_OTHERS).values():
        assert len(row.split()) == len(ROLES)


def test_no_rule_is_told_twice() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
