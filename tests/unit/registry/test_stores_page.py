"""What docs/stores.md shows can be copied: its configurations are read, its metrics are there."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from backends.configuration import KINDS
from registry.config import load_settings, load_stores
from registry.metrics import StoreMetrics

PAGE = (Path(__file__).parents[3] / "docs/stores.md").read_text()
BLOCKS = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
REFERENCES = "/etc/glance/glance-store.conf"
STORES = [block for block in BLOCKS if "auth_address" not in block]


@pytest.mark.parametrize("text", STORES, ids=range(len(STORES)))
def test_its_configurations(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (references,) = (block for block in BLOCKS if "auth_address" in block)
    (tmp_path / "references.conf").write_text(references)
    file = tmp_path / "glance-api.conf"
    file.write_text(text.replace(REFERENCES, str(tmp_path / "references.conf")))
    with caplog.at_level(logging.INFO):
        load_settings([file])
        settings = load_stores([file])
    assert caplog.messages == []
    assert {store.kind for store in settings.stores} <= set(KINDS)


def test_its_kinds() -> None:
    assert set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)) == set(KINDS)


def test_its_metrics() -> None:
    metrics = StoreMetrics()
    observer = metrics.observer("fast")
    observer.moved("read", 1)
    observer.ended("read", 0.1, 1, None)
    told = set(re.findall(r"^# TYPE (\S+)", metrics.exposition("")[0].decode(), re.MULTILINE))
    assert {name for name in told if not name.endswith("_created")} == set(
        re.findall(r"`(cacheproxy_registry_\w+)`", PAGE)
    )
