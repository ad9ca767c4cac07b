"""Python imports this by itself where it is on the path: a fake disk whose reads of chunks hang.

They hang in threads, as long as the file named by FAKE_HANGS_WHILE is there.
"""

import os
import threading
from pathlib import Path
from typing import Any

from harness.waiting import until

HANG_SECONDS = 300.0
while_there = Path(os.environ["FAKE_HANGS_WHILE"])
read = os.preadv


def hanging(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
    """Read, but not now."""
    if flags == 0 and threading.current_thread() is not threading.main_thread():
        until("the disk to answer", lambda: not while_there.exists(), HANG_SECONDS)
    return read(fd, buffers, offset, flags)


os.preadv = hanging
