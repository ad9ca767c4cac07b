"""Small real file systems that a test fills, breaks, freezes, takes away and brings back.

    with small_disk(tmp_path, "ext4") as disk:
        disk.fill()      # another file takes all the space
        disk.free()

They are mounted: ext4 and XFS from a file on a loop device, tmpfs with a size.  Who may not mount, or
has no mkfs, skips.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar

import pytest

from harness.waiting import until

MIB = 1 << 20
T = TypeVar("T")
Kind = Literal["ext4", "xfs", "tmpfs"]
SIZES = {"ext4": 160 * MIB, "xfs": 320 * MIB, "tmpfs": 128 * MIB}  # mkfs.xfs takes no less than 300
INODES = 600  # of ext4 and tmpfs
COMMAND_SECONDS = 60.0

FS_IOC_SHUTDOWN = (
    0x8004587D  # <linux/fs.h>: every operation fails with EIO until it is mounted anew
)
SHUTDOWN_WITHOUT_LOG = 2
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878  # <linux/fs.h>


class SmallDisk:
    """A mounted file system; its `path` is the mount point."""

    def __init__(self, kind: Kind, path: Path, device: str, options: str) -> None:
        self.kind = kind
        self.path = path
        self.device = device
        self._options = options
        self._filler = path / "filler"
        self._crowd = path / "crowd"
        self._frozen: int | None = None

    # --- space ------------------------------------------------------------------------------------

    @property
    def free_bytes(self) -> int:
        """What is left for ordinary users."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self, *, leave: int = 0) -> None:
        """Have another file take all the space but so much."""
        with self._filler.open("ab") as file:
            step = 64 * MIB
            while step >= 4096:
                try:
                    step = min(step, max(4096, self.free_bytes - leave))
                    if self.free_bytes <= leave:
                        return
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), step)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2

    def crowd(self) -> None:
        """Have other files take all inodes."""
        self._crowd.mkdir()
        with suppress(OSError):
            for number in range(1 << 20):
                (self._crowd / str(number)).touch()

    def free(self) -> None:
        """Remove what was filled and crowded."""
        self._filler.unlink(missing_ok=True)
        shutil.rmtree(self._crowd, ignore_errors=True)

    # --- faults -----------------------------------------------------------------------------------

    def shut_down(self) -> None:
        """Have every operation fail with EIO, until it is mounted anew."""
        self._ioctl(FS_IOC_SHUTDOWN, struct.pack("I", SHUTDOWN_WITHOUT_LOG))

    def turn_read_only(self) -> None:
        """Have an ext4 find an error, for which it turns read-only, until it is mounted anew."""
        assert self.kind == "ext4"
        name = Path(self.device).name
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1\n")

    def freeze(self) -> None:
        """Have every writer wait, until `thaw`."""
        self._frozen = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.ioctl(self._frozen, FIFREEZE, 0)

    def thaw(self) -> None:
        """Let the writers go on."""
        if self._frozen is not None:
            fcntl.ioctl(self._frozen, FITHAW, 0)
            os.close(self._frozen)
            self._frozen = None

    def _ioctl(self, request: int, argument: bytes) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, request, argument)
        finally:
            os.close(fd)

    # --- mounting ---------------------------------------------------------------------------------

    def mount(self) -> None:
        """Mount it, as soon as the kernel has let go of an earlier mount."""
        if self.kind == "tmpfs":
            command = ["mount", "-t", "tmpfs", "-o", self._options, "tmpfs", str(self.path)]
        else:
            command = ["mount", "-o", self._options, self.device, str(self.path)]
        run(*command)

    def unmount(self) -> None:
        """Unmount it, as soon as nobody uses it."""

        def unmounted() -> bool:
            return (
                subprocess.run(["umount", self.path], capture_output=True, check=False).returncode
                == 0
            )

        until(f"{self.path} to be free", unmounted)

    def detach(self) -> None:
        """Take it away from under whoever uses it (`umount --lazy`)."""
        run("umount", "--lazy", str(self.path))

    def released(self) -> None:
        """Wait until nobody uses the file system of a detached mount any more."""
        known = Path(f"/sys/fs/{self.kind}/{Path(self.device).name}")
        until(f"{known} to be gone", lambda: not known.exists())

    def repair(self) -> None:
        """Check it, while it is not mounted, as an operator does after an error."""
        assert self.kind == "ext4"

        def checked() -> bool:
            # The kernel lets go of the device a moment after it has forgotten the file system.
            done = subprocess.run(["e2fsck", "-fy", self.device], capture_output=True, check=False)
            assert done.returncode in (0, 1) or b"is in use" in done.stdout, done
            return done.returncode in (0, 1)

        until(f"{self.device} to be free", checked)


def run(*command: str) -> str:
    """Run a command; fail with what it says."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


@contextmanager
def small_disk(directory: Path, kind: Kind, *, inodes: int | None = None) -> Iterator[SmallDisk]:
    """Make and mount one below `directory`; at the end nothing of it is left.

    `inodes`: how many it has, where that can be told (ext4, tmpfs); XFS makes them of free space.
    """
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    path = directory / "disk"
    path.mkdir()
    size = SIZES[kind]
    if kind == "tmpfs":
        options = f"size={size},mode=0755" + (f",nr_inodes={inodes}" if inodes else "")
        disk = SmallDisk(kind, path, "tmpfs", options)
        _try(disk.mount)
        try:
            yield disk
        finally:
            disk.detach()
        return
    if shutil.which(f"mkfs.{kind}", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip(f"there is no mkfs.{kind}: install xfsprogs or e2fsprogs")
    image = directory / "disk.img"
    with image.open("wb") as file:
        file.truncate(size)
    more = {"ext4": ["-m", "0", *(["-N", str(inodes)] if inodes else [])], "xfs": []}[kind]
    run(f"mkfs.{kind}", "-q", *more, str(image))
    device = _try(lambda: run("losetup", "--find", "--show", str(image)))
    try:
        disk = SmallDisk(kind, path, device, "errors=remount-ro" if kind == "ext4" else "noatime")
        _try(disk.mount)
        try:
            yield disk
        finally:
            disk.thaw()
            subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
    finally:
        run("losetup", "--detach", device)


def _try(mounting: Callable[[], T]) -> T:
    """Do what may not be allowed here."""
    try:
        return mounting()
    except (AssertionError, OSError) as error:
        pytest.skip(f"nothing can be mounted here: {error}")
