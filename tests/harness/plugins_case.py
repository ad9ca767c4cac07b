"""Plugins of imports as tests put them together, and what they leave behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.images import MIB, random_bytes
from registry.domain.errors import RegistryError
from registry.domain.image import Image
from registry.inspection.options import InspectionSettings
from registry.plugins.options import PluginSettings
from registry.plugins.plugins import Plugins, leftovers

NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the catalog's are
IMAGE = Image(
    id="an-image", created_at=NOW, updated_at=NOW, container_format="bare", disk_format="raw"
)
QCOW2 = replace(IMAGE, disk_format="qcow2")
DATA = random_bytes(3 * MIB + 17)
MEMBER = frozenset({"member"})


def plugins(
    *names: str,
    cap: int = 1 << 40,
    inspection: InspectionSettings = InspectionSettings(),  # noqa: B008  # it is frozen
    **more: Any,
) -> Plugins:
    return Plugins(PluginSettings(names, **more), inspection, cap)


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def held(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def beside(path: Path) -> list[str]:
    """Return what is in its directory."""
    return sorted(each.name for each in path.parent.iterdir())


async def prepare(
    chosen: Plugins, staged: Path, image: Image, roles: frozenset[str] = MEMBER
) -> tuple[bytes, Mapping[str, Any], Mapping[str, str]]:
    """Return what is to be stored, fields and properties; nothing is left of it but the staged."""
    before = held(staged)
    try:
        async with chosen.prepared(staged, image, roles) as prepared:
            stored = prepared.path.read_bytes() if before is not None else b""
            return stored, prepared.fields, prepared.properties
    finally:
        assert not any(path.exists() for path in leftovers(staged))
        if before is not None:
            assert (beside(staged), held(staged)) == ([staged.name], before)


async def refusal(chosen: Plugins, staged: Path, image: Image) -> str:
    with pytest.raises(RegistryError) as caught:
        await prepare(chosen, staged, image)
    return str(caught.value)
