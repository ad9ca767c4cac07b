"""`[oslo_messaging_notifications]` and what belongs to it; names and defaults are Glance's.

Only what decides whether anybody is told is read here: oslo.messaging reads the rest itself, also
the sections of its drivers (`[oslo_messaging_rabbit]`, …), from the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg

from registry.options import integer

DRIVERS_SECTIONS = "oslo_messaging_"  # how the names of the sections begin that it reads itself


@dataclass(frozen=True, slots=True)
class NotificationSettings:
    """How others are told; `files` are what oslo.messaging reads."""

    files: tuple[Path, ...]
    publisher_id: str
    disabled: frozenset[str]


NOTIFIER_OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "transport_url",
        secret=True,
        help="Where notifications go: rabbit://user:password@host:5672/. [oslo_messaging_notifications] transport_url counts before this one.",
    ),
    cfg.StrOpt(
        "control_exchange", default="glance", help="The exchange that notifications are given to."
    ),
    cfg.StrOpt(
        "default_publisher_id",
        default="image.localhost",
        help="Who notifications say that they are from.",
    ),
    cfg.ListOpt(
        "disabled_notifications",
        default=[],
        help="Events that nobody is told of: image.send, or a whole group: image, task.",
    ),
)
NOTIFICATION_OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.MultiStrOpt(
        "driver",
        default=[],
        help="How others are told what happens to images, one a line: messagingv2, messaging, log. Not set: they are not. Needs oslo.messaging: docs/notifications.md.",
    ),
    cfg.StrOpt("transport_url", secret=True, help="Where notifications go, if not to [DEFAULT]'s."),
    cfg.ListOpt(
        "topics", default=["notifications"], help="The topics, whose queues others listen to."
    ),
    integer(
        "retry", -1, "How often a notification is tried again when the broker is away; -1 for ever."
    ),
)


def read_notifications(conf: Any, files: Sequence[Path]) -> NotificationSettings | None:
    """Take the options as oslo.config has read them from these files; None: nobody is told."""
    if not set(conf.oslo_messaging_notifications.driver) - {"noop", ""}:
        return None
    return NotificationSettings(
        files=tuple(files),
        publisher_id=conf.default_publisher_id,
        disabled=frozenset(conf.disabled_notifications),
    )
