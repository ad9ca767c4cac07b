"""Conversion of images by the real qemu-img, on disks that are full, and when it dies."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.disguises import BY_HAND, made
from harness.images import MIB, random_bytes, run
from harness.plugins_case import IMAGE, MEMBER, QCOW2, beside, plugins, prepare, put, refusal
from harness.smalldisk import small_disk
from harness.waiting import until
from registry.domain.errors import InvalidRequestError, LimitExceededError
from registry.inspection.options import InspectionSettings
from registry.plugins import qemu_img
from registry.plugins.plugins import leftovers


@pytest.fixture(scope="module")
def images_made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return dict(made(tmp_path_factory.mktemp("disguises")))


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    directory = tmp_path / "staging"
    directory.mkdir()
    return directory / "an-image"


@pytest.mark.parametrize("wanted", ["raw", "qcow2", "vmdk"])
@pytest.mark.parametrize(
    ("name", "claimed"),
    [
        ("qcow2", "qcow2"),
        ("vmdk-monolithicSparse", "vmdk"),
        ("vdi", "vdi"),
        ("vhdx", "vhdx"),
        ("gpt", "raw"),
    ],
)
async def test_conversion(
    staged: Path,
    tmp_path: Path,
    images_made: dict[str, bytes],
    name: str,
    claimed: str,
    wanted: str,
) -> None:
    put(staged, images_made[name])
    image = replace(IMAGE, disk_format=claimed, container_format="ovf")
    stored, fields, _ = await prepare(
        plugins("image_conversion", output_format=wanted), staged, image
    )
    raw, converted = tmp_path / "raw", tmp_path / "converted"
    run("qemu-img", "convert", "-f", claimed, "-O", "raw", staged, raw)
    if claimed == wanted:
        assert (stored, fields) == (images_made[name], {"virtual_size": raw.stat().st_size})
        return
    assert fields == {
        "virtual_size": raw.stat().st_size,
        "disk_format": wanted,
        "container_format": "bare",
        "size": len(stored),
    }
    converted.write_bytes(stored)
    run("qemu-img", "compare", "-f", "raw", "-F", wanted, raw, converted)


async def test_packed_and_converted(staged: Path, images_made: dict[str, bytes]) -> None:
    put(staged, gzip.compress(images_made["qcow2"]))
    both = plugins(
        "image_decompression", "inject_image_metadata", "image_conversion", inject={"k": "v"}
    )
    stored, fields, properties = await prepare(both, staged, QCOW2)
    assert fields == {
        "virtual_size": len(stored),
        "disk_format": "raw",
        "container_format": "bare",
        "size": len(stored),
    }
    assert properties == {"k": "v"}
    other_way = plugins("image_conversion", "image_decompression")
    assert await refusal(other_way, staged, QCOW2) == "Image format mismatch"


async def test_a_cd_is_left_alone(staged: Path) -> None:
    put(staged, BY_HAND["iso"])
    chosen = plugins("image_conversion")
    image = replace(IMAGE, disk_format="iso")
    assert await prepare(chosen, staged, image) == (BY_HAND["iso"], {}, {})
    assert await refusal(chosen, staged, IMAGE) == "Image has disallowed configuration"


@pytest.mark.parametrize(
    ("name", "claimed", "told"),
    [
        ("qcow2-backed", "qcow2", "Image has disallowed configuration"),
        ("qcow2-data-file", "qcow2", "Image has disallowed configuration"),
        ("qcow2-backed", "raw", "Image has disallowed configuration"),
        ("qcow2", "raw", "Image format mismatch"),
        ("random", "qcow2", "Image format mismatch"),
        ("random", "ami", "Image format mismatch"),
        ("qcow2-mbr", "qcow2", "Image format detection failed"),
        ("qcow2-clusters", "qcow2", "qemu-img: Could not open 'the image': Unsupported cluster"),
        ("vmdk-monolithicFlat", "vmdk", "Image format mismatch"),
        ("vmdk-unknown", "vmdk", "Image has disallowed configuration"),
        ("vmdk-path", "vmdk", "Image has disallowed configuration"),
        ("vhd", "vhd", "qemu-img: Could not open 'the image': Unknown driver 'vhd'"),
    ],
)
async def test_what_is_not_converted(
    staged: Path, images_made: dict[str, bytes], name: str, claimed: str, told: str
) -> None:
    put(staged, images_made[name])
    image = replace(IMAGE, disk_format=claimed)
    assert (await refusal(plugins("image_conversion"), staged, image)).startswith(told)


async def test_kinds_of_vmdk(staged: Path, images_made: dict[str, bytes]) -> None:
    put(staged, images_made["vmdk-monolithicSparse"])
    image = replace(IMAGE, disk_format="vmdk")
    for allowed, told in (
        ({"streamOptimized"}, "Invalid VMDK create-type specified"),
        (set(), "Image is a VMDK, but no VMDK createType is specified"),
    ):
        inspection = InspectionSettings(vmdk_allowed_types=frozenset(allowed))
        assert (
            await refusal(plugins("image_conversion", inspection=inspection), staged, image) == told
        )


@pytest.mark.parametrize(
    ("described", "told"),
    [
        ({"format": "raw"}, "Image metadata disagrees about format"),
        ({"format": "qcow2", "backing-filename": "/etc/passwd"}, "QCOW images with backing files"),
        (
            {"format": "qcow2", "format-specific": {"data": {"data-file": "x"}}},
            "QCOW images with data-file",
        ),
    ],
)
async def test_what_qemu_finds_that_we_did_not(
    staged: Path,
    images_made: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    described: Any,
    told: str,
) -> None:
    async def describe(_path: Path, _form: str) -> Any:
        return described

    monkeypatch.setattr(qemu_img, "describe", describe)
    put(staged, images_made["qcow2"])
    assert (await refusal(plugins("image_conversion"), staged, QCOW2)).startswith(told)


async def test_a_disk_that_is_too_large(staged: Path, images_made: dict[str, bytes]) -> None:
    put(staged, images_made["qcow2-large"])
    with pytest.raises(LimitExceededError, match="disk of the image is too large"):
        await prepare(plugins("image_conversion"), staged, QCOW2)


async def test_a_format_in_a_format(
    staged: Path, tmp_path: Path, images_made: dict[str, bytes]
) -> None:
    inner = tmp_path / "inner"
    inner.write_bytes(images_made["qcow2-backed"])
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", inner, staged)
    told = await refusal(plugins("image_conversion"), staged, QCOW2)
    assert told == "Image has disallowed configuration"
    inner.write_bytes(images_made["qcow2"])
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", inner, staged)
    told = await refusal(plugins("image_conversion"), staged, QCOW2)
    assert told == "Converted image in unexpected format"


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
async def test_a_full_disk(tmp_path: Path, kind: Any) -> None:
    disk_file = tmp_path / "disk.raw"
    disk_file.write_bytes(random_bytes(8 * MIB))
    with small_disk(tmp_path, kind) as disk:
        staged = disk.path / "an-image"
        for name, packed in (
            ("image_decompression", gzip.compress(disk_file.read_bytes())),
            ("image_conversion", _qcow2(disk_file)),
        ):
            put(staged, packed)
            disk.fill()
            with pytest.raises(LimitExceededError, match="no space left"):
                async with plugins(name).prepared(staged, QCOW2, MEMBER):
                    pass
            disk.free()
            assert not any(path.exists() for path in leftovers(staged))
            async with plugins(name).prepared(staged, QCOW2, MEMBER) as prepared:
                assert prepared.path.stat().st_size == 8 * MIB


def _qcow2(raw: Path) -> bytes:
    path = raw.with_suffix(".qcow2")
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path)
    return path.read_bytes()


SLEEPER = """#!/bin/sh
case "$*" in
*info*) exec {real} "$@" ;;
esac
for last; do :; done
echo begun > "$last"
exec sleep 1000
"""


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a qemu-img before the real one that begins a conversion and never ends it."""
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "qemu-img"
    program.write_text(SLEEPER.format(real="/usr/bin/qemu-img"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


async def begun(staged: Path) -> asyncio.Task[None]:
    """Begin a conversion that does not end."""

    async def convert() -> None:
        async with plugins("image_conversion").prepared(staged, QCOW2, MEMBER):
            pytest.fail("it never ends")

    task = asyncio.create_task(convert())
    target = leftovers(staged)[1]
    await asyncio.to_thread(until, "the conversion to begin", target.exists)
    return task


async def test_cancelled_while_converting(
    sleeper: None, staged: Path, images_made: dict[str, bytes]
) -> None:
    del sleeper
    before = children()
    put(staged, images_made["qcow2"])
    task = await begun(staged)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert (children(), beside(staged)) == (before, [staged.name])


async def test_qemu_img_is_killed(
    sleeper: None, staged: Path, images_made: dict[str, bytes]
) -> None:
    del sleeper
    before = children()
    put(staged, images_made["qcow2"])
    task = await begun(staged)
    for child in set(children()) - set(before):
        if child.parent() == psutil.Process():
            os.killpg(child.pid, signal.SIGKILL)
    with pytest.raises(InvalidRequestError, match="it was ended by signal 9"):
        await task
    assert beside(staged) == [staged.name]


async def test_it_takes_too_long(
    sleeper: None, staged: Path, images_made: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    del sleeper
    monkeypatch.setattr(qemu_img, "CONVERSION_SECONDS", 0.2)
    before = children()
    put(staged, images_made["qcow2"])
    assert await refusal(plugins("image_conversion"), staged, QCOW2) == (
        "qemu-img has not ended after 0 seconds"
    )
    assert children() == before


async def test_without_the_program(
    staged: Path, images_made: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(staged, images_made["qcow2"])
    monkeypatch.setattr(qemu_img, "_CHILD", ("no-such-program",))
    told = await refusal(plugins("image_conversion"), staged, QCOW2)
    assert told == "Images cannot be converted here"
