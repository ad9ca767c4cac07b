"""Small images of every format that Glance tells apart: sound, damaged, dangerous and disguised."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from harness.images import MIB, random_bytes, run

SECTOR = 512


def partitioned(*entries: bytes) -> bytes:
    """Return a first sector that says a disk has these partitions."""
    return b"\0" * 446 + b"".join(entries).ljust(64, b"\0") + b"\x55\xaa"


def partition(kind: int, *, boot: int = 0, first: int = 1, chs: bytes = b"\0\2\0") -> bytes:
    """Return an entry of a partition table."""
    return struct.pack("<B3sB3sII", boot, chs, kind, b"\xff\xff\xff", first, 100)


def iso(descriptor: int = 1, blocks: int = 200) -> bytes:
    """Return a CD with nothing on it."""
    volume = bytearray(2048)
    volume[:7] = bytes([descriptor]) + b"CD001\x01"
    struct.pack_into("<L", volume, 80, blocks)
    struct.pack_into("<H", volume, 128, 2048)
    return bytes(32 << 10) + bytes(volume) + bytes(100 << 10)


def luks(version: int) -> bytes:
    """Return an encrypted disk, of which only the header means anything."""
    header = struct.pack(
        ">6sH32s32s32sII", b"LUKS\xba\xbe", version, b"aes", b"xts-plain64", b"sha256", 4096, 64
    )
    return header.ljust(4096 * SECTOR, b"\0") + random_bytes(100_000)


GPT = partitioned(partition(0xEE))
FAT = bytearray(partitioned(partition(0x0C)))
FAT[0x10], FAT[0x15] = 2, 0xF8
TEXT = b"#!/bin/sh\n" * 60
BY_HAND = {
    "nothing": b"",
    "one-byte": b"x",
    "zeros": bytes(200_001),
    "random": random_bytes(200_000),
    "text": TEXT,
    "long-text": TEXT * 200,
    "text-and-more": TEXT + random_bytes(100_000),
    "gpt": GPT + bytes(200_000),
    "gpt-chs": partitioned(partition(0xEE, chs=b"\1\2\0")) + bytes(9000),
    "gpt-lba": partitioned(partition(0xEE, first=2)) + bytes(9000),
    "gpt-more": partitioned(partition(0xEE), partition(0x83)) + bytes(9000),
    "mbr": partitioned(partition(0x83, boot=0x80, first=2048)) + bytes(9000),
    "mbr-alone": partitioned(partition(0x83, first=2048)),
    "mbr-empty": partitioned() + bytes(9000),
    "mbr-boot": partitioned(partition(0x83, boot=0x33)) + bytes(9000),
    "fat": bytes(FAT) + bytes(9000),
    "iso": iso(),
    "iso-no-volume": iso(descriptor=255),
    "iso-gpt": GPT + iso()[SECTOR:],
    "iso-bad-mbr": partitioned() + iso()[SECTOR:],
    "qed": b"QED\0" + bytes(9000),
    "vhd-short": b"conectix",
    "luks-short": b"LUKS\xba\xbe\0\1",
    "luks": luks(1),
    "luks-2": luks(2),
    "luks-2-short": b"LUKS\xba\xbe\0\2" + bytes(9000),
    "vmdk-short": b"KDMV",
    "vmdk-version": b"KDMV\x09" + bytes(9000),
    "vmdk-elsewhere": b"KDMV\x01" + bytes(9000),
    "vhdx-short": b"vhdxfile" + bytes(100),
    "vhdx-damaged": b"vhdxfile" + bytes(400_000),
    "qcow2-iso": b"QFI\xfb\0\0\0\3" + iso()[8:],
}


def made(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Make all images; give each by its name."""
    yield from BY_HAND.items()
    disks = dict(_disks(directory))
    yield from disks.items()
    qcow2 = disks["qcow2"]
    yield "qcow2-cut", qcow2[:511]
    yield "qcow2-head", qcow2[:512]
    yield "qcow2-bit-4", qcow2[:0x4F] + b"\x10" + qcow2[0x50:]
    yield "qcow2-bit-40", qcow2[:0x4A] + b"\x01" + qcow2[0x4B:]
    yield "qcow2-version-1", qcow2[:7] + b"\1" + qcow2[8:]
    yield "qcow2-version-4", qcow2[:7] + b"\4" + qcow2[8:]
    yield "qcow2-countless", qcow2[:24] + b"\x80" + qcow2[25:]
    yield "qcow2-clusters", qcow2[:23] + b"\x40" + qcow2[24:]
    yield "qcow2-mbr", qcow2[:446] + GPT[446:] + qcow2[512:]
    yield "vhdx-cut", disks["vhdx"][: 2 * MIB]
    yield "vhdx-far", _far(disks["vhdx"])
    sparse, stream = disks["vmdk-monolithicSparse"], disks["vmdk-streamOptimized"]
    yield "vmdk-cut", sparse[:600]
    yield "vmdk-unknown", sparse.replace(b"monolithicSparse", b"mysterySparseDisk"[:16])
    yield "vmdk-path", sparse.replace(b' SPARSE "', b' SPARSE "/etc/')
    footed = _footed(sparse)
    yield "vmdk-footer", footed
    yield "vmdk-footer-cut", footed[:-1]
    yield "vmdk-footer-long", footed + bytes(1)
    yield "vmdk-footer-other", footed[:-990] + b"\xff" + footed[-989:]
    yield "vmdk-stream-cut", stream[:-SECTOR]
    yield "vmdk-stream-tail", stream + bytes(SECTOR)


def _disks(directory: Path) -> Iterator[tuple[str, bytes]]:
    base, raw = directory / "base.qcow2", directory / "disk.raw"
    raw.write_bytes(GPT + bytes(SECTOR) + random_bytes(150_000) + bytes(MIB))
    run("qemu-img", "create", "-q", "-f", "qcow2", base, "1M")
    for name, form, options in (
        ("qcow2", "qcow2", ()),
        ("qcow2-v2", "qcow2", ("-o", "compat=0.10")),
        ("qcow2-compressed", "qcow2", ("-c",)),
        ("qcow2-zstd", "qcow2", ("-c", "-o", "compression_type=zstd")),
        ("qcow2-extended", "qcow2", ("-o", "extended_l2=on,cluster_size=128k")),
        ("qcow", "qcow", ()),
        ("vdi", "vdi", ()),
        ("vhd", "vpc", ()),
        ("vhd-fixed", "vpc", ("-o", "subformat=fixed")),
        ("vhdx", "vhdx", ()),
        ("vmdk-monolithicSparse", "vmdk", ()),
        ("vmdk-streamOptimized", "vmdk", ("-o", "subformat=streamOptimized")),
        ("vmdk-monolithicFlat", "vmdk", ("-o", "subformat=monolithicFlat")),
        ("vmdk-twoGbMaxExtentSparse", "vmdk", ("-o", "subformat=twoGbMaxExtentSparse")),
        ("vmdk-twoGbMaxExtentFlat", "vmdk", ("-o", "subformat=twoGbMaxExtentFlat")),
        ("qed-made", "qed", ()),
        ("parallels", "parallels", ()),
    ):
        path = directory / name
        run("qemu-img", "convert", "-f", "raw", "-O", form, *options, raw, path)
        yield name, path.read_bytes()
    for name, more in (
        ("qcow2-backed", ("-b", str(base), "-F", "qcow2")),
        ("qcow2-data-file", ("-o", f"data_file={directory}/data.raw", "1M")),
        ("qcow2-data-raw", ("-o", f"data_file={directory}/data2.raw,data_file_raw=on", "1M")),
        ("qcow2-empty", ("1M",)),
        ("qcow2-large", ("60T",)),
    ):
        path = directory / name
        run("qemu-img", "create", "-q", "-f", "qcow2", path, *more)
        yield name, path.read_bytes()


def _footed(vmdk: bytes) -> bytes:
    """Return a VMDK whose header is repeated at its end, as it is written to a tape."""
    header = vmdk[:SECTOR]
    marker = struct.pack("<QII", 1, 0, 3).ljust(SECTOR, b"\0")
    return header[:56] + b"\xff" * 8 + vmdk[64:] + marker + header + bytes(SECTOR)


def _far(vhdx: bytes) -> bytes:
    """Return a VHDX whose metadata is said to be where there is none."""
    place = vhdx.index(bytes.fromhex("06a27c8b9047 9a4bb8fe575f050f886e".replace(" ", "")))
    return vhdx[: place + 16] + struct.pack("<Q", 1 << 40) + vhdx[place + 24 :]
