"""Who may import whom, and that each module stands on its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
OURS = ("cacheproxy", "backends", "registry")

VOCABULARY = (
    *("backends.spans", "backends.errors", "backends.location", "backends.manifest"),
    "backends.ordinary",
)
NOUNS = (
    *("cacheproxy.errors", "cacheproxy.config", "cacheproxy.logs"),
    *("cacheproxy.meter", "cacheproxy.metrics"),
)

# What each part may import of ours, beside itself; the longest name that matches decides.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "backends": (),
    "cacheproxy.errors": (),
    "cacheproxy.config": ("cacheproxy.errors", *VOCABULARY),
    "cacheproxy.meter": (),
    "cacheproxy.metrics": ("cacheproxy.meter",),
    "cacheproxy.logs": ("cacheproxy.errors",),
    "cacheproxy.admin": ("cacheproxy.errors",),
    "cacheproxy.cli": (
        *("cacheproxy.admin", "cacheproxy.config", "cacheproxy.errors", "cacheproxy.options"),
        *("cacheproxy.store.verify", "cacheproxy.version"),
    ),
    "cacheproxy.cli.serve": ("cacheproxy", "backends"),
    "cacheproxy.cli.checkconfig": (
        *("cacheproxy.certificate", "cacheproxy.cli", "cacheproxy.errors", "cacheproxy.options"),
        "cacheproxy.storefiles",
    ),
    "cacheproxy.core": VOCABULARY,
    "cacheproxy.store": ("cacheproxy.core", "backends.residency", *NOUNS, *VOCABULARY),
    "cacheproxy.fill": ("cacheproxy.core", "cacheproxy.store", "backends", *NOUNS),
    # The use cases: every other module at the top of the proxy.
    "cacheproxy": ("cacheproxy", "backends"),
    "cacheproxy.web": ("cacheproxy", *VOCABULARY),
    "cacheproxy.processes": ("cacheproxy", "backends"),
    "cacheproxy.app": ("cacheproxy", "backends"),
    "registry.errors": (),
    "registry.options": (),
    "registry.logs": ("registry.errors", "registry.options"),
    "registry.db.options": ("registry.errors", "registry.options"),
    "registry.keystone.options": ("registry.errors", "registry.options"),
    "registry.inspection.options": ("registry.options",),
    "registry.policy.options": ("registry.errors", "registry.options"),
    "registry.notifications.options": ("registry.options",),
    "registry.quotas.options": (
        *("registry.errors", "registry.options", "registry.keystone.options"),
    ),
    "registry.protections.options": ("registry.errors",),
    "registry.service.options": ("registry.errors", "registry.options"),
    "registry.locations.options": ("registry.errors", "registry.options"),
    "registry.fetching.options": ("registry.errors", "registry.options"),
    "registry.web.options": ("registry.errors", "registry.options"),
    "registry.config": (
        *("registry.errors", "registry.options", "backends.configuration"),
        *("registry.keystone.options", "registry.policy.options", "backends.swift.options"),
        *("registry.db.options", "registry.logs", "registry.fetching.options"),
        "registry.locations.options",
        *("registry.protections.options", "registry.inspection.options"),
        *("registry.signatures.options", "registry.plugins.options"),
        *("registry.service.options", "registry.imports.options", "registry.web.options"),
        *("registry.quotas.options", "registry.notifications.options"),
        *("registry.metadefs.arguments", "registry.metadefs.options"),
        *VOCABULARY,
    ),
    "registry.fetching": (
        *("registry.domain", "registry.errors"),
        *("backends.errors", "backends.guard", "backends.location", "backends.pinning"),
    ),
    "registry.keystone": ("registry.domain", "registry.errors"),
    "registry.policy": ("registry.domain", "registry.errors"),
    "registry.protections": ("registry.domain", "registry.errors"),
    "registry.notifications": ("registry.domain", "registry.errors"),
    "registry.quotas": ("registry.domain", "registry.db", "registry.errors", "registry.keystone"),
    "registry.inspection": ("registry.domain",),
    "registry.plugins.options": ("registry.errors",),
    "registry.plugins": ("registry.domain", "registry.inspection"),
    "registry.signatures.options": ("registry.options",),
    "registry.signatures": ("registry.domain", "backends.threads"),
    "registry.metrics": ("backends.errors", "backends.watching", "registry.service.jobs"),
    "registry.domain": (),
    "registry.db": ("registry.domain", "registry.errors"),
    "registry.service": (
        *(
            "registry.domain",
            "registry.db",
            "registry.errors",
            "registry.inspection",
            "registry.signatures",
            "backends",
        ),
        "registry.quotas.quotas",
    ),
    "registry.cli.parser": ("registry.metadefs.arguments", "registry.takeover.command"),
    "registry.cli": ("registry", "backends"),
    "registry.takeover": ("registry", "backends"),
    "registry.metadefs.arguments": (),
    "registry.metadefs.options": ("registry.metadefs.arguments",),
    "registry.metadefs": ("registry", "backends"),
    "registry.imports.options": ("registry.errors", "registry.options"),
    "registry.imports": (
        *("registry.domain", "registry.db", "registry.service", "registry.fetching"),
        *("registry.errors", "registry.plugins", "registry.quotas.quotas", "backends"),
    ),
    "registry.web": ("registry", *VOCABULARY),
    "registry": ("registry", "backends"),
}

# What a part that may import a whole package must still leave alone.
MUST_NOT_IMPORT: dict[str, tuple[str, ...]] = {
    "cacheproxy": ("cacheproxy.web", "cacheproxy.app"),
    "cacheproxy.web": (
        *("cacheproxy.app", "cacheproxy.store", "cacheproxy.fill", "cacheproxy.processes"),
    ),
    "cacheproxy.processes": (),
    "cacheproxy.app": (),
    "registry": (),
    "registry.takeover": ("registry.web", "registry.app"),
    "registry.metadefs": ("registry.web", "registry.app"),
    "registry.web": ("registry.app", "registry.db", "registry.policy"),
}
PROGRAMS = ("cacheproxy.cli.serve", "cacheproxy.demo")  # they start what app builds

ONLY_IN: dict[str, tuple[str, ...]] = {
    "lmdb": ("cacheproxy.store",),
    "blake3": ("cacheproxy.store", "registry.service"),
    "aiohttp.web": (
        *("cacheproxy.web", "cacheproxy.app", "cacheproxy.processes.worker"),
        *("registry.web", "registry.app"),
    ),
}

PURE = ("cacheproxy.core", "registry.domain")
IMPURE = (
    *("asyncio", "threading", "multiprocessing", "subprocess", "socket", "selectors", "signal"),
    *("os", "pathlib", "shutil", "tempfile", "io", "time", "logging", "random", "secrets"),
)


def within(module: str, part: str) -> bool:
    return module == part or module.startswith(part + ".")


def modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(module: str, path: Path) -> set[str]:
    """Return the full names that a module imports, wherever in it, also only for types.

    `from a import b` counts as `a.b`, whether b is a module or a name in one.
    """
    found: set[str] = set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes(), path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*above, *filter(None, [origin])])
            found.update(f"{origin}.{alias.name}" for alias in node.names)
    return found


def complaints(module: str, names: set[str]) -> Iterator[str]:
    """Say what is wrong with a module of ours that imports `names`."""
    part = max((each for each in MAY_IMPORT if within(module, each)), key=len)
    allowed = (*MAY_IMPORT[part], *(() if part == "cacheproxy" else (part,)))
    forbidden = () if module in PROGRAMS else MUST_NOT_IMPORT.get(part, ())
    for name in sorted(names):
        ours = any(within(name, package) for package in OURS)
        if ours and not any(within(name, each) for each in allowed):
            yield f"{module} imports {name}; {part} may import only {', '.join(allowed) or 'itself'}"
        if any(within(name, each) for each in forbidden):
            yield f"{module} imports {name}, which {part} must leave alone"
        for library, places in ONLY_IN.items():
            private = within(name, library) or (
                library == "aiohttp.web" and name.startswith("aiohttp.web_")
            )
            if private and not any(within(module, place) for place in places):
                yield f"{module} imports {name}, which belongs in {' or '.join(places)}"
        if any(within(module, pure) for pure in PURE) and name.split(".")[0] in IMPURE:
            yield f"{module} imports {name}, but it is pure"


def test_layers() -> None:
    found = [line for name, path in modules() for line in complaints(name, imports(name, path))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("backends.http.store", "import cacheproxy.errors"),
        ("backends.http.store", "from registry import db"),
        ("cacheproxy.core.plan", "import asyncio"),
        ("cacheproxy.core.plan", "from os import path"),
        ("cacheproxy.core.plan", "def f():\n    import time"),
        ("cacheproxy.core.plan", "from cacheproxy.config import Settings"),
        ("cacheproxy.core.plan", "from ..store import index"),
        ("cacheproxy.store.index", "from cacheproxy.fill import flights"),
        ("cacheproxy.store.index", "from backends import http"),
        ("cacheproxy.fill.flights", "import lmdb"),
        ("cacheproxy.fill.flights", "from cacheproxy import web"),
        ("cacheproxy.fill.flights", "from cacheproxy.processes import link"),
        ("cacheproxy.web.routes", "from cacheproxy.store.index import Index"),
        ("cacheproxy.web.routes", "from cacheproxy import app"),
        ("cacheproxy.serve", "from aiohttp import web"),
        ("cacheproxy.serve", "from aiohttp.web_response import Response"),
        ("cacheproxy.serve", "from cacheproxy.web.routes import table"),
        ("cacheproxy.serve", "from registry import app"),
        ("cacheproxy.processes.keeper", "import aiohttp.web"),
        ("cacheproxy.fill.origin", "from blake3 import blake3"),
        ("backends.manifest", "from blake3 import blake3"),
        ("registry.domain.image", "import registry.db"),
        ("registry.domain.image", "import logging"),
        ("registry.db.images", "from registry.service import images"),
        ("registry.service.images", "from registry.web import routes"),
        ("registry.web.images", "from registry.db.images import find"),
        ("registry.app", "import cacheproxy.errors"),
        ("registry.keystone.callers", "from registry.policy.policy import Policy"),
        ("registry.web.identity", "from registry.policy.policy import Policy"),
    ],
)
def test_a_wrong_import_is_seen(module: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(source)
    assert list(complaints(module, imports(module, path)))


FORK_AND_IMPORT = """
import importlib, os, sys, traceback
# What others have made is brought in once: only ours may need one another in some order.
import aiohttp.web, aiosqlite, alembic.command, blake3, cryptography.hazmat.primitives.ciphers
import jsonschema, lmdb, msgspec, oslo_config.cfg, prometheus_client
import sqlalchemy.dialects.mysql, sqlalchemy.ext.asyncio
import keystoneauth1.loading, keystoneauth1.session, oslo_policy.policy
failed = False
for name in sys.argv[1:]:
    if not (child := os.fork()):
        try:
            importlib.import_module(name)
        except BaseException:
            print(f"{name} does not import alone:", file=sys.stderr)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    failed |= os.waitpid(child, 0)[1] != 0
sys.exit(failed)
"""


def test_every_module_imports_alone() -> None:
    names = [name for name, _ in modules() if not name.endswith(".__main__")]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK_AND_IMPORT, *names],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
