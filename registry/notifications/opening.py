"""Puts together what tells others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module

from registry.domain.notices import SILENT, Notifier
from registry.notifications.notifier import Count, QueuedNotifier, Sending
from registry.notifications.options import NotificationSettings

LOG = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0  # for what is queued when the process stops


@asynccontextmanager
async def open_notifier(
    settings: NotificationSettings | None, count: Count
) -> AsyncIterator[Notifier]:
    """Give what tells others, as long as the context lasts; `ConfigError` if that cannot be."""
    if settings is None:
        yield SILENT
        return
    notifier = QueuedNotifier(partial(_made, settings), settings.disabled, count)
    await notifier.ready()
    LOG.info("others are told what happens to images")
    try:
        yield notifier
    finally:
        await asyncio.to_thread(notifier.close, CLOSE_SECONDS)


def _made(settings: NotificationSettings) -> Sending:
    """Make who sends; what it brings takes a second to import, and is needed here only."""
    messaging = import_module("registry.notifications.messaging")
    sender: Sending = messaging.Sender(settings)
    return sender
