"""A real systemd as the first process of namespaces of its own, running the units of this repository.

    with running_systemd(tmp_path, configuration) as machine:
        machine.systemctl("start", "cacheproxy.service")

It sees this machine's programs, and an /etc, a /run and a /var/lib that are its own; of units only
ours and empty targets, so that nothing of this machine is started or set.  Its network is the
machine's.  Needs root, cgroup2 and a kernel that lets it have namespaces; skips where they are missing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from harness.program import REPOSITORY, Program
from harness.waiting import until

UNITS = REPOSITORY / "systemd"
SYSTEMD = Path("/lib/systemd/systemd")
COMMAND_SECONDS = 90.0
TARGETS = (
    *("basic", "final", "multi-user", "network", "network-online", "paths", "shutdown"),
    *("sockets", "sysinit", "timers", "umount"),
)
EMPTY_TARGET = "[Unit]\nDefaultDependencies=no\n"
_TRAVERSABLE = 0o001


class Machine:
    """What runs under that systemd."""

    def __init__(self, program: Program, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.log = directory / "service.log"  # what the services print
        self.log.touch()

    def run(self, *command: str | Path, check: bool = True) -> str:
        """Run a command inside; its output."""
        done = subprocess.run(
            ["nsenter", f"--target={self._init()}", *_ENTER, "--", *command],
            env={**os.environ, "SYSTEMD_UNIT_PATH": "/run/units", "SYSTEMD_COLORS": "0"},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{shlex.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}\n"
                f"{self.program.tail()}\n{self.log.read_text()[-4096:]}"
            )
        return done.stdout + done.stderr

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Run systemctl inside; its output."""
        return self.run("systemctl", *arguments, check=check)

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit).strip()

    def main_pid(self, unit: str = "cacheproxy.service") -> psutil.Process:
        """Return a service's main process."""
        inside = int(self.show(unit, "MainPID"))
        for process in self.program.children():
            status = Path(f"/proc/{process.pid}/status")
            try:
                (line,) = [x for x in status.read_text().splitlines() if x.startswith("NSpid")]
            except FileNotFoundError:
                continue
            if line.split()[-1] == str(inside):
                return process
        raise AssertionError(f"{unit} has no main process {inside}")

    def booted(self) -> bool:
        """Whether systemd has started what it was to start."""
        if self.program.process.poll() is not None:
            raise AssertionError(f"systemd ended:\n{self.program.tail()}")
        try:
            return "running" in self.systemctl("is-system-running", check=False)
        except LookupError:
            return False

    def _init(self) -> int:
        """Return its process id, as seen from here."""
        found = []
        for each in self.program.children():
            with suppress(psutil.NoSuchProcess):  # one that prepares it, and has ended
                if each.name() == "systemd":
                    found.append(each.pid)
        if not found:
            raise LookupError("systemd is not there yet")
        return min(found)


_ENTER = ("--mount", "--pid", "--cgroup", "--ipc", "--uts")


@contextmanager
def running_systemd(
    directory: Path,
    *,
    changes: Mapping[str, str],
    files: Mapping[str, str],
    units: Mapping[str, str] | None = None,
) -> Iterator[Machine]:
    """Boot one; `changes` are made to our units, by name, and `files` are put below its /etc.

    `units` are there besides ours.
    """
    cgroups = _cgroup2()
    _write(directory, changes, files, units or {})
    cgroup = cgroups / f"cacheproxy-test-{os.getpid()}"
    cgroup.mkdir()
    script = directory / "boot"
    script.write_text(_script(directory, cgroup))
    try:
        # `script` gives it a terminal as its console, on which it logs.
        program = Program(
            "systemd",
            ["script", "--quiet", "--return", "--command", f"sh -eu {script}", "/dev/null"],
            directory=directory,
        )
        try:
            machine = Machine(program, directory)
            until("systemd to be up", machine.booted)
            yield machine
        finally:
            program.stop(codes=range(-15, 256))  # it is not asked: its first process is killed
    finally:
        _remove(cgroup)


def _cgroup2() -> Path:
    """Return where cgroups can be made; skips where systemd cannot be run."""
    if os.geteuid() != 0 or not SYSTEMD.exists() or shutil.which("script") is None:
        pytest.skip("only root may, with Debian's packages systemd and bsdutils, run a systemd")
    if REPOSITORY.is_relative_to("/tmp"):
        pytest.skip("a service with PrivateTmp= does not find a program below /tmp")
    probe = subprocess.run(
        ["unshare", "--mount", "--pid", "--cgroup", "--fork", "mount", "-t", "tmpfs", "x", "/run"],
        capture_output=True,
        check=False,
    )
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    found = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    if probe.returncode or not found or not os.access(found[0], os.W_OK):
        pytest.skip("this machine lets nobody have namespaces and cgroups for a systemd")
    return found[0]


def _write(
    directory: Path,
    changes: Mapping[str, str],
    files: Mapping[str, str],
    more: Mapping[str, str],
) -> None:
    units = directory / "units"
    units.mkdir()
    for unit, text in more.items():
        (units / unit).write_text(text)
    for file in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
        shutil.copy(file, units)
    for target in TARGETS:
        (units / f"{target}.target").write_text(EMPTY_TARGET)
    for unit, text in changes.items():
        _drop_in(units, unit, text)
    for name in ("etc", "etc-work", "bin", "bin-work", "state", "stash"):
        (directory / name).mkdir()
    for name, text in files.items():
        file = directory / "etc" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for name, module in (("cacheproxy", "cacheproxy"), ("cacheproxy-registry", "registry")):
        command = directory / "bin" / name
        command.write_text(
            f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m {module} "$@"\n'
        )
        command.chmod(0o755)


def _drop_in(units: Path, unit: str, text: str) -> None:
    folder = units / f"{unit}.d"
    folder.mkdir(exist_ok=True)
    (folder / "test.conf").write_text(text)


def _script(directory: Path, cgroup: Path) -> str:
    """Return what becomes systemd."""
    quoted = shlex.quote(str(directory))
    overlay = "mount -t overlay overlay -o lowerdir={0},upperdir={1}/{2},workdir={1}/{2}-work {0}"
    inside = "\n".join(
        [
            "mount --make-rprivate /",
            "umount --recursive /sys/fs/cgroup",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            "mount --bind $(tty) /dev/console",
            overlay.format("/etc", quoted, "etc"),
            overlay.format("/usr/local/bin", quoted, "bin"),
            "mount -t tmpfs -o mode=755 tmpfs /run",
            f"mount --bind {quoted}/state /var/lib",
            f"mkdir /run/units /run/nothing; mount --bind {quoted}/units /run/units",
            *_exposing(directory / "stash"),
            f"systemd-sysusers {UNITS}/sysusers.conf",
            f"systemd-tmpfiles --create {UNITS}/tmpfiles.conf",
            "export container=other SYSTEMD_UNIT_PATH=/run/units",
            "export SYSTEMD_GENERATOR_PATH=/run/nothing SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/nothing",
            f"exec {SYSTEMD} --system --unit=basic.target --log-target=console --show-status=no",
        ]
    )
    unshare = "unshare --mount --pid --cgroup --ipc --uts --fork --mount-proc --kill-child"
    return f"echo $$ > {cgroup}/cgroup.procs\nexec {unshare} sh -eu -c {shlex.quote(inside)}\n"


def _exposing(stash: Path) -> Iterator[str]:
    """Make our program readable for others there, wherever it is."""
    needed = [Path(each).resolve() for each in (REPOSITORY, sys.prefix, sys.base_prefix)]
    hidden: dict[Path, Path] = {}  # what is below a directory that only root may enter
    for path in needed:
        for parent in reversed(path.parents):
            if not parent.stat().st_mode & _TRAVERSABLE:
                hidden[path] = parent
                break
    for number, path in enumerate(hidden):
        yield f"mkdir {stash}/{number}; mount --bind {path} {stash}/{number}"
    for parent in set(hidden.values()):
        yield f"mount -t tmpfs -o mode=755 tmpfs {parent}"
    for number, path in enumerate(hidden):
        yield f"mkdir -p {path}; mount --bind {stash}/{number} {path}"


def _remove(cgroup: Path) -> None:
    def gone() -> bool:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                return False
        return True

    until("the cgroups to be empty", gone)


def commands(*names: str) -> Sequence[str]:
    """Return the paths of systemd's commands; skips where they are not installed."""
    paths = [shutil.which(name) for name in names]
    if None in paths:
        pytest.skip("Debian's package systemd is not installed")
    return [path for path in paths if path]
