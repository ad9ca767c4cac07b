"""Servers that tests start leave those of other tests alone, which run at the same time."""

from __future__ import annotations

import shutil

import pytest

from harness.databases import home_of
from harness.mariadb import running_mariadb


def test_a_mariadb_that_starts_removes_no_temporary_tables_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other one would be killed by a signal in the middle of a query."""
    with home_of("mysql") as shared:
        monkeypatch.setenv("TMPDIR", str(shared))
        table = shared / "#sql-temptable-1-2-3.MAI"
        table.touch()
        shutil.chown(table, shared.owner())
        with running_mariadb():
            assert table.exists()
