"""The first moments of a child, in the fresh fork, before anything of its own is imported."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn

from cacheproxy import logs
from cacheproxy.errors import ConfigError
from cacheproxy.processes.packets import socket_pair

log = logging.getLogger(__name__)


def fork() -> tuple[int, socket.socket]:
    """Fork; return the child's process id (0 in the child) and this side's end of its control."""
    ours, theirs = socket_pair()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    kept, given = (ours, theirs) if pid else (theirs, ours)
    given.close()
    return pid, kept


def become(name: str, entry: Callable[[], int], drop_inherited: Callable[[], None]) -> NoReturn:
    """Run `entry` as the process `name`, without what was the supervisor's, and exit.

    The exit code is the entry's; os.EX_CONFIG after a ConfigError, which is logged;
    os.EX_SOFTWARE after any other exception, logged with its traceback.
    """
    code = os.EX_SOFTWARE
    flush: Callable[[], None] = logging.shutdown
    try:
        signal.set_wakeup_fd(-1)
        # A signal to the whole group is the supervisor's to answer: it drains us in order.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        drop_inherited()
        flush = logs.through_a_thread(f"cacheproxy {name}")
        code = entry()
    except ConfigError as error:
        log.error("%s", error)  # noqa: TRY400  (the message says what to do)
        code = os.EX_CONFIG
    except BaseException:
        log.exception("it cannot go on")
    finally:
        try:
            flush()
        finally:
            os._exit(code)
