"""What keeps the catalog from starting.  What can go wrong later: `registry.domain.errors`."""

from __future__ import annotations


class ConfigError(Exception):
    """The configuration or the machine does not allow a start; the message says what to do."""
