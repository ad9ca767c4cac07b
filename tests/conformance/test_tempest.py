"""tempest's own image tests: their results through the proxy are those against Glance itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.glance import FileServer, Glance, load_metadefs
from harness.keystone import Keystone
from harness.node import running_node
from harness.tempest import Outcome, run_tempest

RESULTS = Path(__file__).parents[1] / "results/tempest.json"


def both(
    directory: Path, keystone: Keystone, glance: Glance, files: FileServer
) -> tuple[Outcome, Outcome]:
    """Run them against Glance, and against a proxy that Keystone's catalog names instead."""
    with keystone.naming("image", glance.url):
        direct = run_tempest(directory / "direct", keystone, files)
    (directory / "node").mkdir()
    with (
        running_node(directory / "node", glance.url) as node,
        keystone.naming("image", node.url),
    ):
        proxied = run_tempest(directory / "proxied", keystone, files)
        metrics = node.metrics()
        assert metrics["cacheproxy_file_requests_total"]  # it was the proxy that they asked
        assert metrics['cacheproxy_passthrough_requests_total{code="201"}']
    return direct, proxied


@pytest.mark.long
@pytest.mark.timeout(2700)
def test_all_of_tempests_image_tests(
    keystone: Keystone, glance_widest: Glance, files: FileServer, tmp_path: Path
) -> None:
    load_metadefs(glance_widest)
    direct, proxied = both(tmp_path, keystone, glance_widest, files)
    assert direct.number("FAILED") == 0, direct.text
    assert proxied.results == direct.results, proxied.text
    RESULTS.write_text(
        json.dumps(
            {
                "date": datetime.now(UTC).date().isoformat(),
                "against": "Keystone 30.0.0, Glance 33.0.0, tempest 47.0.0",
                "passed": proxied.number("ok"),
                "skipped": proxied.number("SKIPPED"),
                "failed": proxied.number("FAILED"),
                "the same against Glance itself": True,
                "tests": dict(sorted(proxied.results.items())),
            },
            indent=2,
        )
        + "\n"
    )
