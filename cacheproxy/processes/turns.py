"""Whose turn it is on a core that the keeper and the workers share: first who answers clients.

A fill keeps half a dozen of the keeper's threads busy, and the scheduler gives each of them as much,
and for as long at a time, as it gives the worker.  Both calls are about the calling thread and those
that it starts later; so they come before there are any, which also has all threads of a process
wait for its interpreter's lock with equal rights.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import struct

TURN_NANOSECONDS = 100_000  # the least that Linux grants, instead of about 3 ms
THIS_THREAD = 0
NICE = 5  # a third of the weight of who is not nice

# struct sched_attr in its first version: size, policy, flags, nice, priority, runtime, deadline, period
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
# sched_setattr, sched_getattr
_CALLS = {"x86_64": (314, 315), "ppc64le": (355, 356), "s390x": (345, 346)}
_CALLS_GENERIC = (274, 275)  # aarch64, riscv64 and later ones
_SHARING = (os.SCHED_OTHER, os.SCHED_BATCH)  # policies under which threads take turns

log = logging.getLogger(__name__)


class TurnsError(Exception):
    """This kernel, or what confines us, does not let us."""


def give_way() -> None:
    """Let others go first, in proportion; a core that nobody else wants is all ours."""
    try:
        os.nice(NICE)
    except OSError as error:  # a filter of system calls may forbid it
        log.debug("the keeper is no nicer than others: %s", error)


def come_soon() -> None:
    """Ask for short turns, which come the sooner (Linux 6.12); elsewhere nothing changes."""
    try:
        _ask(TURN_NANOSECONDS)
    except TurnsError as error:
        log.debug("turns stay as they are: %s", error)


def turn(thread: int = THIS_THREAD) -> int:
    """Return how long a thread's turns are, in ns; 0 where the kernel does not tell."""
    policy, _, runtime = _attributes(thread)
    return runtime if policy in _SHARING else 0


def _ask(nanoseconds: int) -> None:
    policy, nice, _ = _attributes(THIS_THREAD)
    if policy not in _SHARING:
        raise TurnsError("the operator has chosen another policy")
    wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, policy, 0, nice, 0, nanoseconds, 0, 0)
    _call(0, THIS_THREAD, ctypes.create_string_buffer(wanted, len(wanted)), 0)
    if turn() != nanoseconds:  # before Linux 6.12 it was not looked at
        raise TurnsError("this kernel has no turns of one's own length")


def _attributes(thread: int) -> tuple[int, int, int]:
    """Return policy, nice value and length of turns."""
    told = ctypes.create_string_buffer(_ATTRIBUTES.size)
    _call(1, thread, told, _ATTRIBUTES.size, 0)
    _, policy, _, nice, _, runtime, _, _ = _ATTRIBUTES.unpack(told.raw)
    return policy, nice, runtime


def _call(which: int, thread: int, attributes: ctypes.Array[ctypes.c_char], *more: int) -> None:
    number = _CALLS.get(platform.machine(), _CALLS_GENERIC)[which]
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_uint(each) for each in more)
    if libc.syscall(ctypes.c_long(number), thread, attributes, *arguments) != 0:
        raise TurnsError(os.strerror(ctypes.get_errno()))
