"""Lets a thread work only where nobody else wants to."""

from __future__ import annotations

import ctypes
import os
import platform
import threading

_LOWEST_NICE = 19
_THIS_THREAD = (1, 0)  # IOPRIO_WHO_PROCESS, 0
_CLASS_IDLE = 3 << 13  # <linux/ioprio.h>
_SYS_IOPRIO_SET = {"x86_64": 251, "ppc64le": 273, "s390x": 282}
_SYS_IOPRIO_SET_GENERIC = 30  # aarch64, riscv64 and later ones


def work_last() -> None:
    """Give the calling thread the lowest priority for processor and disk, as far as they heed it.

    On Linux both are a thread's own.  What the kernel refuses stays as it is.
    """
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_NICE)
    number = _SYS_IOPRIO_SET.get(platform.machine(), _SYS_IOPRIO_SET_GENERIC)
    ctypes.CDLL(None).syscall(ctypes.c_long(number), *_THIS_THREAD, _CLASS_IDLE)
