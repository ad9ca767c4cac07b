"""Where the supervisor enters what it does not know itself."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from cacheproxy.certificate import Certificate
from cacheproxy.config import Settings
from cacheproxy.meter import Meter
from cacheproxy.processes.past import Past


@dataclass(frozen=True, slots=True)
class Entries:
    """What the children run, and the supervisor after a SIGHUP.

    Children return their exit code (os.EX_CONFIG: it has said what is wrong).
    """

    keeper: Callable[[Settings, Past, socket.socket, Meter], int]
    worker: Callable[[Settings, int, socket.socket, Meter], int]
    reread: Callable[[Settings], Settings]  # with what the files say now
    renew: Callable[[], Certificate | None] = lambda: None  # what workers show instead, if they do
