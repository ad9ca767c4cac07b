"""oslo.messaging's notifier, as an operator configures it; imported only where there is one."""

from __future__ import annotations

import warnings
from typing import Any

from oslo_config import cfg

from registry.domain.notices import Payload, Priority
from registry.errors import ConfigError
from registry.notifications.options import NotificationSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it brings with it is deprecated, and not used
    try:
        import oslo_messaging
    except ImportError:
        raise ConfigError(
            "[oslo_messaging_notifications] driver needs oslo.messaging: "
            "pip install 'cacheproxy[notifications]'"
        ) from None


class Sender:
    """Sends one notification after the other, in one thread; may block as long as it pleases."""

    def __init__(self, settings: NotificationSettings) -> None:
        """Blocks for reading the files; `ConfigError` says what is wrong with them."""
        conf = cfg.ConfigOpts()
        conf(
            args=[],
            project="cacheproxy-registry",
            default_config_files=[str(file) for file in settings.files],
            default_config_dirs=[],
        )
        oslo_messaging.set_transport_defaults("glance")
        try:
            self._transport: Any = oslo_messaging.get_notification_transport(conf)
            self._notifier: Any = oslo_messaging.Notifier(self._transport, settings.publisher_id)
            if self._notifier.retry < 0:
                self._notifier.retry = None  # -1 means none at all where there is no connection yet
        except (oslo_messaging.MessagingException, cfg.Error, ValueError) as error:
            # Its text may quote a URL with a password.
            raise ConfigError(
                f"[oslo_messaging_notifications] driver or transport_url: {type(error).__name__}"
            ) from None

    def send(self, event: str, payload: Payload, priority: Priority) -> None:
        """Give it to the broker; what cannot be sent is told in oslo.messaging's log."""
        send = self._notifier.error if priority == "error" else self._notifier.info
        send({}, event, payload)

    def close(self) -> None:
        """Leave the broker, which otherwise holds up the end of the process."""
        self._transport.cleanup()
