"""The programs start with what a plain installation brings: the tests' own packages hide what is missing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]

# Imports a module as if these packages were not installed.
WITHOUT = """
import importlib, importlib.abc, sys
absent = set(sys.argv[2:])

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
importlib.import_module(sys.argv[1])
"""


def installed() -> set[str]:
    """Return the distributions that installing ours without extras brings."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    found: set[str] = set()
    asked: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in asked:
            continue
        asked.add(str(requirement))
        try:
            needed = distribution(requirement.name).requires or ()
        except PackageNotFoundError:  # for other systems, or other Pythons
            continue
        found.add(canonicalize_name(requirement.name))
        for line in map(Requirement, needed):
            extras = requirement.extras or {""}
            if line.marker is None or any(line.marker.evaluate({"extra": one}) for one in extras):
                waiting.append(line)
    return found


def import_without(module: str, absent: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, module, *absent],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "module",
    [
        *("registry.cli.serving", "registry.cli.database", "registry.cli.scrubbing"),
        *("registry.db.upgrading", "cacheproxy.cli.serve"),
    ],
)
def test_a_program_starts_without_the_extras(module: str) -> None:
    there = installed() | {"cacheproxy"}
    absent = sorted(
        package
        for package, owners in packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & there
    )
    assert "hypothesis" in absent
    import_without(module, absent)


def test_help_comes_before_what_commands_need() -> None:
    import_without("registry.__main__", ["asyncio", "sqlalchemy", "oslo_config", "aiohttp"])


def test_a_service_has_nothing_of_migrations() -> None:
    import_without("registry.cli.serving", ["alembic"])
