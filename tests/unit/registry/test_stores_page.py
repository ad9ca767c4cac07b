"""What docs/stores.md shows can be copied: its configurations are read, its metrics are there."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from backends.configuration import KINDS
from registry.config import load_settings, load_stores
from registry.db.database import Database
from registry.db.options import DatabaseSettings
from registry.metrics import StoreMetrics
from registry.service.jobs import Jobs

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "stores.md").read_text()
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


def test_its_metrics(tmp_path: Path) -> None:
    metrics = StoreMetrics()
    jobs = Jobs(Database(DatabaseSettings(f"sqlite:///{tmp_path}/x")), {}, "here")
    observer = metrics.observer("fast")
    observer.moved("read", 1)
    observer.ended("read", 0.1, 1, None)
    metrics.watch(jobs)
    told = set(re.findall(r"^# TYPE (\S+)", metrics.exposition("")[0].decode(), re.MULTILINE))
    told = {name for name in told if not name.endswith("_created")}
    of_stores = {name for name in told if name.startswith("cacheproxy_registry_store_")}
    assert of_stores == set(re.findall(r"`(cacheproxy_registry_\w+)`", PAGE))
    others = DOCS / "uploads.md", DOCS / "notifications.md", DOCS / "jobs.md"
    text = "".join(page.read_text() for page in others)
    assert told - of_stores == set(re.findall(r"`(cacheproxy_registry_\w+?)(?:\{[^`]*)?`", text))
