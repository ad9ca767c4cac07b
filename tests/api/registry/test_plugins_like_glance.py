"""Images on their way through an import: the real Glance with its plugins, and ours, do the same."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from harness.disguises import made
from harness.glance import running_glance
from harness.images_api import ImagesApi
from harness.keystone import Keystone
from registry.domain.errors import RegistryError
from registry.domain.image import Image
from registry.inspection.formats import FormatInspection
from registry.inspection.options import InspectionSettings
from registry.plugins.options import PluginSettings
from registry.plugins.plugins import Plugins

NAMES = ("inject_image_metadata", "image_decompression", "image_conversion")
MORE = f"""
[image_import_opts]
image_import_plugins = {list(NAMES)}
[inject_metadata_properties]
inject = a:1,os_glance_b:2
"""
OCTETS = {"Content-Type": "application/octet-stream"}
NOW = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the catalog's are
LOOKED_AT = InspectionSettings()
FIELDS = ("disk_format", "container_format", "virtual_size", "size")
LONG = pytest.mark.long
# What cannot be decompressed is not asked about: the Glance of today leaves such an image in
# importing for ever, ours is queued again (`tests/unit/registry/test_plugins.py`).
IN_EVERY_RUN = (
    *(("qcow2", "qcow2"), ("qcow2-compressed", "qcow2"), ("qcow2-backed", "qcow2")),
    *(("vmdk-streamOptimized", "vmdk"), ("vhdx", "vhdx"), ("gpt", "raw"), ("iso", "iso")),
    *(("qcow2", "raw"), ("gzipped", "qcow2"), ("zipped", "qcow2"), ("zipped-stored", "qcow2")),
    ("qcow2-mbr", "qcow2"),
)
IN_LONG_RUNS = (
    *(("qcow2-v2", "qcow2"), ("qcow2-zstd", "qcow2"), ("qcow2-extended", "qcow2")),
    *(("qcow2-data-file", "qcow2"), ("qcow2-head", "qcow2"), ("qcow2-clusters", "qcow2")),
    *(("vdi", "vdi"), ("vhd", "vhd"), ("vhdx-cut", "vhdx"), ("vmdk-unknown", "vmdk")),
    *(("vmdk-monolithicFlat", "vmdk"), ("vmdk-path", "vmdk"), ("vmdk-footer", "vmdk")),
    *(("iso", "raw"), ("iso-gpt", "iso"), ("random", "raw"), ("random", "ami"), ("mbr", "raw")),
    *(("mbr-boot", "raw"), ("zeros", "qcow2"), ("gzipped-long", "qcow2")),
)


@pytest.fixture(scope="module")
def glance(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImagesApi]:
    with running_glance(tmp_path_factory.mktemp("glance-plugins"), keystone, MORE) as running:
        yield ImagesApi(running.url, running.headers)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    images = dict(made(tmp_path_factory.mktemp("disguises")))
    images["gzipped"] = gzip.compress(images["qcow2"])
    images["gzipped-long"] = images["gzipped"] + bytes(9)
    for name, method in (("zipped", zipfile.ZIP_DEFLATED), ("zipped-stored", zipfile.ZIP_STORED)):
        file = BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("a", images["qcow2"])
        images[name] = file.getvalue()
    return images


def imported(api: ImagesApi, data: bytes, disk_format: str) -> dict[str, Any] | None:
    """Return what Glance makes of data that is staged and imported; None if it fails."""
    image = api.create(disk_format=disk_format)
    api.call("PUT", f"/{image}/stage", headers=OCTETS, body=data).expect(204)
    document = {"method": {"name": "glance-direct"}}
    api.call("POST", f"/{image}/import", document=document).expect(202)
    api.settle(image)
    record = api.show(image)
    stored = api.download(image).body if record["status"] == "active" else b""
    api.delete(image)
    if record["status"] != "active":
        return None
    return {name: record[name] for name in FIELDS} | {"a": record.get("a"), "data": stored}


async def prepared(data: bytes, disk_format: str, staged: Path) -> dict[str, Any] | None:
    """Return what our plugins make of it; None if they refuse it."""
    put(staged, data)
    image = Image(
        id="i", created_at=NOW, updated_at=NOW, container_format="bare", disk_format=disk_format
    )
    settings = PluginSettings(NAMES, {"a": "1", "os_glance_b": "2"})
    ours = Plugins(settings, LOOKED_AT, 1 << 40)
    try:
        async with ours.prepared(staged, image, frozenset({"member"})) as done:
            stored = done.path.read_bytes()
    except RegistryError:
        return None
    # What comes behind, on the way into a store.
    inspection = FormatInspection(str(done.fields.get("disk_format", disk_format)), LOOKED_AT)
    await inspection.update(stored)
    seen = await inspection.finish()
    plain = {"disk_format": disk_format, "container_format": "bare", "size": len(data)}
    return {**plain, **done.fields, **seen, **done.properties, "data": stored}


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "claimed"),
    [*IN_EVERY_RUN, *(pytest.param(*each, marks=LONG) for each in IN_LONG_RUNS)],
)
async def test_the_same_becomes_of_an_image(
    glance: ImagesApi, images: dict[str, bytes], tmp_path: Path, name: str, claimed: str
) -> None:
    theirs = imported(glance, images[name], claimed)
    ours = await prepared(images[name], claimed, tmp_path / "staged")
    assert ours == theirs
