"""What clients have written, what of it was acknowledged, and what may be there because of that.

A write whose answer was lost may have been done, and may still be done a little later, by an
instance that was frozen meanwhile.  Everything else must be exactly as it was acknowledged last.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from harness.mortals import data_of

T = TypeVar("T")

LATE_SECONDS = (
    75.0  # that a request may live on without its client: a freeze, and the catalog's minute
)
ABSENT = None


@dataclass(eq=False, slots=True)
class Write(Generic[T]):
    """One attempt to write a value."""

    value: T
    begun: float


class Register(Generic[T]):
    """One thing that one client writes, a value after the other."""

    def __init__(self, value: T) -> None:
        self.sure = value  # acknowledged last
        self._open: list[Write[T]] = []

    def __repr__(self) -> str:
        return f"{self.sure!r} or {[write.value for write in self._open]}"

    @property
    def possible(self) -> list[T]:
        """What may be there."""
        return [self.sure, *(write.value for write in self._open)]

    @property
    def is_sure(self) -> bool:
        """Whether it can only be what was acknowledged."""
        return all(value == self.sure for value in self.possible)

    def attempt(self, value: T) -> Write[T]:
        """Note a write before it is sent."""
        write = Write(value, time.monotonic())
        self._open.append(write)
        return write

    def refuse(self, write: Write[T]) -> None:
        """Note that it was not done, and never will be."""
        self._open.remove(write)

    def acknowledge(self, write: Write[T]) -> None:
        """Note that it was done; only what was sent a little before may still come behind it."""
        self.sure = write.value
        self._open = [
            each
            for each in self._open
            if each.value != write.value and each.begun > write.begun - LATE_SECONDS
        ]


@dataclass(frozen=True, slots=True)
class Data:
    """The bytes of an image."""

    seed: int
    size: int

    @property
    def content(self) -> bytes:
        """All of them."""
        return data_of(self.seed, self.size)

    @property
    def digest(self) -> str:
        """Their SHA-512, as the record tells it."""
        return hashlib.sha512(self.content).hexdigest()


@dataclass(slots=True)
class Entry:
    """What is known of an image."""

    id: str
    customer: int
    data: Data
    status: Register[str] = field(default_factory=lambda: Register("none"))  # of no record
    properties: dict[str, Register[str | None]] = field(default_factory=dict)
    tags: dict[str, Register[bool]] = field(default_factory=dict)
    members: dict[str, Register[str | None]] = field(default_factory=dict)
    copied: Register[bool] = field(default_factory=lambda: Register(False))

    def differences(self, record: dict[str, Any]) -> list[str]:
        """Return in which way a record is not what may be there."""
        found = []
        if record["status"] not in self.status.possible:
            found.append(f"status {record['status']}, not {self.status}")
        for name, register in self.properties.items():
            if record.get(name) not in register.possible:
                found.append(f"{name} is {record.get(name)}, not {register}")
        for tag, there in self.tags.items():
            if (tag in record["tags"]) not in there.possible:
                found.append(f"tag {tag}: not {there}")
        if record["status"] in {"active", "deactivated"}:
            told = record["size"], record["os_hash_value"]
            if told != (self.data.size, self.data.digest):
                found.append(f"size and hash {told}")
            stores = sorted(record["stores"].split(","))
            if stores not in [
                ["cheap", "fast"] if both else ["fast"] for both in self.copied.possible
            ]:
                found.append(f"stores {stores}, copied: {self.copied}")
        return [f"{self.id} of customer {self.customer}: {each}" for each in found]


@dataclass(slots=True)
class Ledger:
    """What all clients have done."""

    entries: dict[str, Entry] = field(default_factory=dict)
    common: list[Entry] = field(default_factory=list)  # which all write to, each his own
    names: Counter[str] = field(
        default_factory=Counter
    )  # attempts to create without an id, by name
    created: Counter[str] = field(default_factory=Counter)  # of these, those acknowledged
    acknowledged: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    longest: float = 0.0  # seconds until a failed request healed
    faults: list[str] = field(default_factory=list)
