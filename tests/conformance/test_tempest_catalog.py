"""tempest's own image tests against our catalog: what Glance passes it passes, and skips no more."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from harness.catalog import load_metadefs
from harness.catalog_database import IN_LONG_RUNS, empty_database, server_of
from harness.databases import Server
from harness.glance import FileServer
from harness.keystone import Keystone
from harness.services import python_of
from harness.tempest import Outcome, run_tempest
from harness.widest import running_widest

RESULTS = Path(__file__).parents[1] / "results/tempest.json"


@pytest.fixture(scope="module", params=IN_LONG_RUNS)
def server(request: pytest.FixtureRequest) -> Server | None:
    return server_of(request)


@pytest.mark.timeout(900)
async def test_all_of_it(
    server: Server | None, keystone: Keystone, files: FileServer, tmp_path: Path
) -> None:
    wanted = json.loads(RESULTS.read_text())["tests"]
    async with empty_database(server, tmp_path) as database:
        outcome = await asyncio.to_thread(run, database, keystone, files, tmp_path)
    assert outcome.results == wanted, outcome.text


def run(database: str, keystone: Keystone, files: FileServer, directory: Path) -> Outcome:
    """Run them against a proxy in front of a catalog on this database."""
    with (
        running_widest(directory, keystone, database) as node,
        keystone.naming("image", node.url),
    ):
        load_metadefs(directory, glance=python_of("glance"))
        return run_tempest(directory / "tempest", keystone, files)
