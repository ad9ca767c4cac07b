"""Images to test with: random, zero, sparse, and real disks made of real files."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

MIB = 1 << 20
DISK_BYTES = 24 * MIB
TOOL_SECONDS = 60.0


def random_bytes(size: int, seed: int = 0) -> bytes:
    """Return bytes that look random and are the same for the same seed."""
    return random.Random(seed).randbytes(size)


def sparse_file(path: Path, size: int, islands: dict[int, bytes]) -> Path:
    """Make a file of `size` zero bytes, but for these bytes at these positions."""
    with path.open("wb") as file:
        file.truncate(size)
        for position, data in islands.items():
            os.pwrite(file.fileno(), data, position)
    return path


@dataclass(frozen=True, slots=True)
class Disk:
    """The same disk, an ext4 filesystem with a few files, in two formats."""

    raw: Path
    qcow2: Path


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """Make a disk image: the size is no multiple of a chunk, most of it is zero."""
    directory = tmp_path_factory.mktemp("disk")
    files = directory / "files"
    files.mkdir()
    (files / "hostname").write_text("a-virtual-machine\n")
    (files / "kernel").write_bytes(random_bytes(5 * MIB + 1234))
    (files / "empty").write_bytes(b"")
    sparse_file(files / "database", 4 * MIB, {MIB: b"page", 3 * MIB: random_bytes(70_000, seed=1)})
    made = Disk(directory / "disk.raw", directory / "disk.qcow2")
    sparse_file(made.raw, DISK_BYTES + 4096, {})
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", files, made.raw)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", made.raw, made.qcow2)
    yield made
    shutil.rmtree(directory)


def run(*command: str | Path, seconds: float = TOOL_SECONDS) -> str:
    """Run a program and return what it prints; fail with what it complains of."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # where Debian keeps mke2fs
    program = shutil.which(command[0], path=path)
    assert program, f"{command[0]} is not installed: make packages"
    done = subprocess.run(
        [program, *command[1:]],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
