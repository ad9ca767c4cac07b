"""Who decides what is read from the web, where others than operators name locations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

# Returns the addresses that a URI may be read from, one at least; a StoreError if it may not be.
Guard: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
