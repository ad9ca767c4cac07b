"""Glance's `image.send` notifications, for the answers that Glance knows nothing of.

oslo.messaging does the sending; it blocks, so it has a thread.  Rules:

1. Nobody waits for it: what does not fit in its queue is dropped, and counted.
2. Each is tried once.  A message bus that is away costs notifications, nothing else.
3. The bus's address, which holds a password, is in no message.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cacheproxy.config import NotificationSettings
from cacheproxy.meter import Meter
from cacheproxy.metrics import NOTIFICATIONS

EVENT = "image.send"
QUEUED_MAX = 1024
CLOSE_SECONDS = 2.0  # how long the end of a process waits for what is queued
COMPLAIN_SECONDS = 60.0  # between two lines of the log about a bus that is away

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """Image data that was sent to somebody."""

    image_id: str
    owner_id: str | None
    sent_bytes: int
    complete: bool  # all that was asked for
    project_id: str | None  # the receiver's; None: not known
    user_id: str | None
    address: str | None  # the receiver's

    @property
    def payload(self) -> dict[str, str | int | None]:
        """What Glance's own cache says of a hit."""
        return {
            "bytes_sent": self.sent_bytes,
            "image_id": self.image_id,
            "owner_id": self.owner_id,
            "receiver_tenant_id": self.project_id,
            "receiver_user_id": self.user_id,
            "destination_ip": self.address,
        }


Emit = Callable[[Notice], None]
"""Sends one; blocks, and raises whatever its library raises."""


class Notifier:
    """Sends notices in the order in which they came, from a thread of its own."""

    def __init__(
        self,
        settings: NotificationSettings,
        meter: Meter,
        connect: Callable[[NotificationSettings], Emit] | None = None,
    ) -> None:
        self._settings = settings
        self._meter = meter
        self._connect = connect or _connect
        self._notices: queue.Queue[Notice | None] = queue.Queue(QUEUED_MAX)
        self._complained_at = -COMPLAIN_SECONDS
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def send(self, notice: Notice) -> None:
        """Send it as soon as may be, or drop it; never waits."""
        try:
            self._notices.put_nowait(notice)
        except queue.Full:
            self._meter.inc(NOTIFICATIONS, 1, "dropped")

    def close(self) -> None:
        """Send what is queued, for a bounded time.  Blocks."""
        try:
            self._notices.put(None, timeout=CLOSE_SECONDS)
        except queue.Full:
            return
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        emit: Emit | None = None
        while (notice := self._notices.get()) is not None:
            try:
                emit = emit or self._connect(self._settings)
                emit(notice)
            except Exception as error:  # noqa: BLE001  any of a library's many; it is counted and told
                self._meter.inc(NOTIFICATIONS, 1, "failed")
                self._complain(error)
            else:
                self._meter.inc(NOTIFICATIONS, 1, "sent")

    def _complain(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            # Its text may quote the bus's address.
            log.warning("notifications cannot be sent: %s", type(error).__name__)


def _connect(settings: NotificationSettings) -> Emit:
    # Imported only where notifications are configured: an optional package, and a large one.
    import oslo_messaging  # noqa: PLC0415
    from oslo_config import cfg  # noqa: PLC0415

    conf = cfg.ConfigOpts()
    conf([], project="cacheproxy", default_config_files=[], default_config_dirs=[])
    transport = oslo_messaging.get_notification_transport(conf, url=settings.transport_url)
    notifier = oslo_messaging.Notifier(
        transport,
        publisher_id=settings.publisher_id or f"image.{socket.gethostname()}",
        driver=settings.driver,
        topics=[settings.topic],
        retry=0,
    )

    def emit(notice: Notice) -> None:
        priority = notifier.info if notice.complete else notifier.error
        priority({}, EVENT, notice.payload)

    return emit
