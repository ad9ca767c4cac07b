"""A disk that does not get on: what is read of it is on its way to memory, and does not come.

    with on_its_way(disk, path, 2 * MIB):
        ...              # the file's first 2 MiB are in the page cache, none of them readable

Another process reads them, and the kernel gives it next to nothing of the device (cgroups, of either
version).  Who may not set that up, skips.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backends.residency import by_cachestat, by_mincore
from harness.program import BOUND_TO_US
from harness.smalldisk import SmallDisk
from harness.waiting import until

CGROUPS = Path("/sys/fs/cgroup")
BYTES_A_SECOND = 4096
NAME = f"cacheproxy-slow-disk-{os.getpid()}"


@contextmanager
def on_its_way(disk: SmallDisk, path: Path, size: int) -> Iterator[None]:
    """Have the first bytes of a file, which is not in memory, on their way as long as this lasts."""
    with _slow_group(disk.device) as group:
        reader = subprocess.Popen(
            [
                *BOUND_TO_US,
                *("sh", "-c", 'echo $$ > "$1/cgroup.procs" && exec dd if="$2" bs="$3" count=1'),
                *("sh", group, path, str(size)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        fd = os.open(path, os.O_RDONLY)
        try:
            until("the pages to be on their way", lambda: by_cachestat(fd, 0, size))
            assert not by_mincore(fd, 0, 4096)
            yield
        finally:
            os.close(fd)
            _lift(group, disk.device)
            reader.kill()
            reader.wait()


@contextmanager
def _slow_group(device: str) -> Iterator[Path]:
    number = _number(device)
    group = (CGROUPS / "blkio" if (CGROUPS / "blkio").is_dir() else CGROUPS) / NAME
    try:
        if group.parent == CGROUPS:
            (CGROUPS / "cgroup.subtree_control").write_text("+io")
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no group of processes can be made here: {error}")
    try:
        try:
            if group.parent == CGROUPS:
                (group / "io.max").write_text(f"{number} rbps={BYTES_A_SECOND}")
            else:
                limit = group / "blkio.throttle.read_bps_device"
                limit.write_text(f"{number} {BYTES_A_SECOND}")
        except OSError as error:
            pytest.skip(f"the kernel bounds no device for a group of processes: {error}")
        yield group
    finally:
        until("the group to be empty", lambda: _removed(group))


def _lift(group: Path, device: str) -> None:
    """Let everything that waits go on."""
    number = _number(device)
    if group.parent == CGROUPS:
        (group / "io.max").write_text(f"{number} rbps=max")
    else:
        (group / "blkio.throttle.read_bps_device").write_text(f"{number} 0")


def _number(device: str) -> str:
    number = Path(device).stat().st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def _removed(group: Path) -> bool:
    with suppress(OSError):
        group.rmdir()
    return not group.exists()
