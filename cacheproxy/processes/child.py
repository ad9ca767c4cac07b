"""What the keeper and the workers have in common: how a child process of the node begins."""

from __future__ import annotations

import asyncio
import gc
import resource
from collections.abc import Coroutine

import uvloop


def run(main: Coroutine[None, None, int]) -> int:
    """Run a child's main on uvloop, with as many descriptors as the machine allows.

    The loop is closed, which waits for threads, only after an end in order (0): threads may hang.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # What was imported before lives as long as the process: the collector need not look at it.
    gc.freeze()
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    code = runner.run(main)
    if code == 0:
        runner.close()
    return code
