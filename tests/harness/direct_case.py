"""Stores in memory that obey scripts, read directly by the fills of a `fill_case`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.base import PruneStore
from backends.configuration import StoreSettings
from backends.faulty import Faulty, Script
from backends.memory import MemoryStore
from backends.options import MemoryOptions
from backends.wrapping import wrap
from cacheproxy.account import Account
from cacheproxy.config import ServiceUserSettings
from cacheproxy.directreads import DirectReads
from cacheproxy.fill.source import OwnAccount
from cacheproxy.locations import Locations
from cacheproxy.meter import Meter
from cacheproxy.metrics import DIRECT_BYTES, DIRECT_FAILURES, DIRECT_FALLBACKS, DIRECT_READS
from cacheproxy.upstream import Upstream
from contracts.subject import write
from harness.fill_case import Case, started
from harness.origin import Origin, OriginImage

PIECE_BYTES = 64 << 10
STALL_SECONDS = 30.0  # longer than a test
KIND = "file"  # what metrics call these stores


@dataclass(eq=False)
class Scripted:
    """A store, and what it does to its reads."""

    inner: MemoryStore
    faulty: Faulty
    store: PruneStore

    @classmethod
    def with_reads(cls, script: Script) -> Scripted:
        """Return one whose reads obey a script."""
        inner = MemoryStore(MemoryOptions(piece_bytes=PIECE_BYTES))
        faulty = Faulty(read=script)
        return cls(inner, faulty, wrap(inner, faulty))

    @property
    def reads(self) -> int:
        """How many have begun."""
        return self.faulty.begun["read"]


@dataclass(eq=False)
class Clock:
    """A clock that can be put forward."""

    ahead: float = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return time.monotonic() + self.ahead


@dataclass(eq=False)
class Stores:
    """The stores by name; new ones come as they are asked for."""

    scripted: dict[str, Scripted]
    clock: Clock = field(default_factory=Clock)

    def named(self, name: str) -> PruneStore:
        """Return one."""
        return self.scripted[name].store

    async def put(self, image: OriginImage, *names: str, data: bytes | None = None) -> None:
        """Put an image's bytes into stores, and tell so in its record."""
        content = image.content.read(0, image.content.size) if data is None else data
        told = image.record.setdefault("locations", [])
        for name in names:
            location = await write(self.scripted[name].inner, image.id, content)
            told.append({"url": location.uri, "metadata": {"store": name}})


@dataclass
class DirectCase:
    """A case of fills, and the stores that they read."""

    fills: Case
    stores: Stores
    direct: DirectReads

    def total(self, of: str) -> float:
        """Return one of the metrics: bytes, reads, failures, fallbacks."""
        metrics = {"bytes": DIRECT_BYTES, "reads": DIRECT_READS, "failures": DIRECT_FAILURES}
        if of == "fallbacks":
            return self.fills.board.total(DIRECT_FALLBACKS)
        return self.fills.board.total(metrics[of], (KIND,))


@asynccontextmanager
async def direct_case(
    glance: Origin,
    directory: Path,
    *,
    account: OwnAccount | None = None,
    stall_seconds: float = STALL_SECONDS,
    weights: dict[str, int] | None = None,
    scripts: Mapping[str, Script] | None = None,
    **options: Any,
) -> AsyncIterator[DirectCase]:
    """Run a case whose fills read the stores that `scripts` names; `fast` without it."""
    made = {name: Scripted.with_reads(script) for name, script in (scripts or {"fast": ()}).items()}
    stores = Stores(made)
    settings = [
        StoreSettings(name, KIND, MemoryOptions(), (weights or {}).get(name, 0)) for name in made
    ]
    built: list[DirectReads] = []

    def build(upstream: Upstream, meter: Meter) -> DirectReads:
        own = account or Account(ServiceUserSettings())
        catalog = Locations(upstream, own, meter, stores.clock)
        built.append(
            DirectReads(catalog, stores, settings, stall_seconds, meter, clock=stores.clock)
        )
        return built[0]

    async with started(glance, directory, account=account, shortcuts=build, **options) as case:
        yield DirectCase(case, stores, built[0])
