"""How far an operation is, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable

from cacheproxy.admin.results import Progress


class Watch:
    """Where an operation shows how far it is; who waits for it looks when he likes."""

    def __init__(self) -> None:
        self.look: Callable[[], Progress] | None = None
