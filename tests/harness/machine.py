"""A virtual machine under qemu, started from a disk image, and what it says on its serial line."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.guest import LOGIN, Guest
from harness.program import STOP_SECONDS, Program

PROMPT = b"guest login: "
READY = b"# "  # a shell's, of root
PROMPT_SECONDS = 300.0
COMMAND_SECONDS = 300.0
KVM_SECONDS = 60.0  # to the prompt, where it works at all
LOOK_SECONDS = 1.0  # qemu says on its own output that it cannot go on, and then does nothing
ANY_END = range(-64, 256)
GIVEN_UP = "internal error"
READ_BYTES = 1 << 16
TAIL_BYTES = 4096
READING_SECONDS = 600  # qemu gives up after 5 by itself, which a cold image may need
MACHINE = ("-m", "512", "-smp", "2", "-nodefaults", "-display", "none", "-no-reboot")

# Debian 12's qemu (7.2) loses a wake-up when its HTTP driver reads several things at once, and the
# machine waits for ever.  A queue of one command does without that.
ONE_READ = ("-device", "virtio-scsi-pci,cmd_per_lun=1", "-device", "scsi-hd,drive=disk")

ACCELERATORS = {"kvm": ("-accel", "kvm", "-cpu", "host"), "tcg": ("-accel", "tcg", "-cpu", "max")}


class SilentMachineError(AssertionError):
    """The machine did not say what was waited for; shows what it said last."""


class Machine:
    """A machine that runs, and its serial line."""

    def __init__(self, program: Program, line: socket.socket) -> None:
        self._program = program
        self._line = line
        self._said = b""
        self._read = 0  # so much of it was waited for already

    def expect(self, words: bytes, seconds: float) -> bytes:
        """Wait for words on the serial line; return what was said since the last ones waited for."""
        deadline = time.monotonic() + seconds
        while (found := self._said.find(words, self._read)) < 0:
            if time.monotonic() > deadline or GIVEN_UP in self._program.tail():
                raise SilentMachineError(self._complaint(f"waited in vain for {words!r}"))
            self._listen()
        before, self._read = self._said[self._read : found], found + len(words)
        return before

    def _listen(self) -> None:
        ready, _, _ = select.select([self._line], [], [], LOOK_SECONDS)
        if ready:
            heard = self._line.recv(READ_BYTES)
            if not heard:
                raise SilentMachineError(self._complaint("the machine ended"))
            self._said += heard

    def _complaint(self, what: str) -> str:
        said = self._said[-TAIL_BYTES:].decode(errors="replace")
        return f"{what}; qemu says: {self._program.tail()}\nthe machine said: {said}"

    def type(self, line: str) -> None:
        """Type a line on the serial line."""
        self._line.sendall(line.encode() + b"\r")

    def log_in(self) -> None:
        """Answer the prompt of the guest's login; then a shell waits that repeats nothing."""
        name, password = LOGIN
        self.type(name)
        self.expect(b"Password: ", COMMAND_SECONDS)
        self.type(password)
        self.expect(READY, COMMAND_SECONDS)
        for line in ("exec sh", "stty -echo"):
            self.type(line)
            self.expect(READY, COMMAND_SECONDS)

    def command(self, command: str) -> str:
        """Run a command in the guest's shell and return what it prints; fail if it does."""
        self.type(f"{command}; echo ended $?")
        printed = self.expect(b"ended ", COMMAND_SECONDS).decode(errors="replace")
        code = self.expect(b"\r\n", COMMAND_SECONDS)
        self.expect(READY, COMMAND_SECONDS)
        text = printed.replace("\r\n", "\n")
        assert code == b"0", f"{command}: {code!r} {text}"
        return text


@contextmanager
def running_machine(
    directory: Path, drive: str, accelerator: str, *, codes: Sequence[int] = (0,)
) -> Iterator[Machine]:
    """Start a machine from a drive (qemu's notation); what it writes stays below `directory`.

    `codes` are the exit codes of a good end.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        serial = ("-serial", f"tcp:127.0.0.1:{port}")
        disk = ("-drive", f"{drive},if=none,id=disk,snapshot=on")
        program = Program(
            f"machine-{port}",
            ["qemu-system-x86_64", *MACHINE, *ACCELERATORS[accelerator], *serial, *disk, *ONE_READ],
            directory=directory,
            environment={"TMPDIR": str(directory)},
        )
        try:
            server.settimeout(STOP_SECONDS)
            line, _ = server.accept()
            with line:
                yield Machine(program, line)
        finally:
            program.stop(codes=codes)


def drive_at(url: str, driver: str) -> str:
    """Return qemu's notation for an image at its data's URL."""
    where = f"file.driver=http,file.url={url.replace(',', ',,')}"
    return f"driver={driver},{where},file.timeout={READING_SECONDS}"


def drive_of(path: Path, driver: str) -> str:
    """Return qemu's notation for an image in a file."""
    return f"driver={driver},file.driver=file,file.filename={str(path).replace(',', ',,')}"


def accelerator_of(guest: Guest, directory: Path) -> str:
    """Return what starts the guest here: kvm where it can, which takes a look, else tcg."""
    if not Path("/dev/kvm").exists():
        return "tcg"
    drive = drive_of(guest.qcow2, "qcow2")
    try:
        with running_machine(directory, drive, "kvm", codes=ANY_END) as machine:
            machine.expect(PROMPT, KVM_SECONDS)
    except SilentMachineError:
        return "tcg"
    return "kvm"
