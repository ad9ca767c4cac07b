"""A Keystone that is a function: what the accounts of the proxy and of the catalog log in with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

T = TypeVar("T")


class NumberedTokens(Generic[T]):
    """Hands out `made` of numbered tokens and when they end, once `open` is set."""

    def __init__(
        self, made: Callable[[str, datetime], T], failure: Exception, seconds: float = 3600.0
    ) -> None:
        self.asked = 0
        self.seconds = seconds
        self.open = threading.Event()
        self.open.set()
        self.failing = False
        self._made, self._failure = made, failure

    def __call__(self, _settings: object) -> T:
        self.asked += 1
        assert self.open.wait(30)
        if self.failing:
            raise self._failure
        ends = datetime.now(UTC) + timedelta(seconds=self.seconds)
        return self._made(f"token-{self.asked}", ends)
