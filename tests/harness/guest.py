"""A small Debian as a disk image that starts by itself: made once with debootstrap, and kept.

    0 MiB    partition table, and the first sector of the boot loader
    1 MiB    FAT: the boot loader, kernel and initial RAM disk
    64 MiB   ext4: Debian, with systemd and a login prompt on the serial line

All that a machine reads to start is in the image, so all of it comes from where the image is.
Nothing is mounted to make it.  The packages come from the mirror that this machine's apt uses.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.images import MIB, run, sparse_file
from harness.services import ENVIRONMENTS, unavailable

LABEL = "guest"  # of its root file system: where it starts from, whatever the disk is called there
LOGIN = ("root", "guest")  # the account and its password
PACKAGES = ("linux-image-cloud-amd64", "systemd-sysv", "udev", "dbus", "kmod", "initramfs-tools")
PROGRAMS = ("debootstrap", "mcopy", "mformat", "mke2fs", "qemu-img", "syslinux")
MAKING_SECONDS = 1200.0
STEP_SECONDS = 300.0

SECTOR_BYTES = 512
DISK_BYTES = 1024 * MIB
LOADER = range(MIB, 64 * MIB)  # the FAT partition
SYSTEM = range(64 * MIB, DISK_BYTES)
FIRST_SECTOR = Path("/usr/lib/SYSLINUX/mbr.bin")
CODE_BYTES = 440  # of the first sector; the disk's signature and the partition table follow
SIGNATURE = b"cap\x01\0\0"
FAT32, LINUX = 0x0C, 0x83
ACTIVE = 0x80

SYSLINUX = f"""\
DEFAULT linux
LABEL linux
  KERNEL vmlinuz
  INITRD initrd
  APPEND root=LABEL={LABEL} ro loglevel=3 console=ttyS0
"""
FSTAB = f"LABEL={LABEL} / ext4 errors=remount-ro 0 1\n"


@dataclass(frozen=True, slots=True)
class Guest:
    """The same disk in two formats."""

    raw: Path
    qcow2: Path


@pytest.fixture(scope="session")
def guest() -> Guest:
    """Give the image; skip, or fail where CACHEPROXY_REQUIRE_SERVICES is set, if it cannot be made."""
    return kept_guest()


def kept_guest() -> Guest:
    """Return the image, made now if there is none of this recipe."""
    kept = ENVIRONMENTS / f"guest-{_recipe()}"
    if not kept.exists():
        reason = _lacking()
        if reason:
            unavailable(reason)
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as made:
            _make(Path(made))
            (Path(made) / "kept").rename(kept)
        for old in kept.parent.glob("guest-*"):
            if old != kept:
                shutil.rmtree(old)
    return Guest(kept / "disk.raw", kept / "disk.qcow2")


def _recipe() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


def _lacking() -> str | None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"{', '.join(missing)} not installed: make packages-long"
    if os.getuid():
        return "debootstrap makes the guest's image as root only"
    return None


def _make(directory: Path) -> None:
    """Make `directory/kept` with the images; what else is there is of no more use."""
    system, boot, kept = directory / "system", directory / "boot", directory / "kept"
    mirror, suite = _mirror()
    included = f"--include={','.join(PACKAGES)}"
    run("debootstrap", "--variant=minbase", included, suite, system, mirror, seconds=MAKING_SECONDS)
    run("chroot", system, "sh", "-c", f"echo {shlex.quote(':'.join(LOGIN))} | chpasswd")
    (system / "etc/hostname").write_text("guest\n")
    (system / "etc/fstab").write_text(FSTAB)
    for downloads in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(system / downloads)
    boot.mkdir()
    for name in ("vmlinuz", "initrd"):
        (found,) = (system / "boot").glob(f"{name}*")
        shutil.copyfile(found, boot / name)
    (boot / "syslinux.cfg").write_text(SYSLINUX)
    kept.mkdir()
    raw, qcow2 = kept / "disk.raw", kept / "disk.qcow2"
    _write_disk(raw, boot, system)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2, seconds=STEP_SECONDS)


def _mirror() -> tuple[str, str]:
    """Return where apt gets Debian from, and the release that it installs."""
    shape = "$(ORIGIN) $(LABEL) $(CODENAME) $(RELEASE) $(SITE)"
    told = run("apt-get", "indextargets", "--format", shape, "Created-By: Packages")
    for line in told.splitlines():
        origin, label, codename, release, site = line.split()
        if (origin, label, codename) == ("Debian", "Debian", release):
            return site, release
    return unavailable("apt knows no mirror of Debian, of which the guest's image is made")


def _write_disk(disk: Path, boot: Path, system: Path) -> None:
    code = FIRST_SECTOR.read_bytes().ljust(CODE_BYTES, b"\0")
    table = _partition(ACTIVE, FAT32, LOADER) + _partition(0, LINUX, SYSTEM)
    sector = (code + SIGNATURE + table).ljust(SECTOR_BYTES - 2, b"\0") + b"\x55\xaa"
    sparse_file(disk, DISK_BYTES, {0: sector})
    loader = f"{disk}@@{LOADER.start}"
    sectors = str(len(LOADER) // SECTOR_BYTES)
    hidden = str(LOADER.start // SECTOR_BYTES)
    geometry = ("-h", "64", "-s", "32", "-H", hidden)
    run("mformat", "-i", loader, "-T", sectors, *geometry, "-F", "::")
    run("mcopy", "-i", loader, *sorted(boot.iterdir()), "::")
    run("syslinux", "--install", "--offset", str(LOADER.start), disk)
    offset = f"offset={SYSTEM.start}"
    options = ("-q", "-F", "-t", "ext4", "-L", LABEL, "-d", system, "-E", offset)
    run("mke2fs", *options, disk, f"{len(SYSTEM) >> 10}k", seconds=STEP_SECONDS)


def _partition(flags: int, kind: int, span: range) -> bytes:
    """Return a partition's entry in the table, by sectors; its cylinders say "too large"."""
    start, count = span.start // SECTOR_BYTES, len(span) // SECTOR_BYTES
    beyond = b"\xfe\xff\xff"
    return struct.pack("<B3sB3sII", flags, beyond, kind, beyond, start, count)
