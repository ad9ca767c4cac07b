"""What every fill works with."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from cacheproxy.config import CacheSettings
from cacheproxy.core.facts import ImageFacts
from cacheproxy.fill.buffers import Buffers
from cacheproxy.fill.content import Content
from cacheproxy.fill.inflight import InFlight
from cacheproxy.fill.published import PublishedManifests
from cacheproxy.fill.source import OwnAccount, Shortcuts, Source
from cacheproxy.meter import Meter
from cacheproxy.store.chunkstore import ChunkStore


@dataclass(frozen=True, slots=True)
class FillPorts:
    """The collaborators that all fills share."""

    store: ChunkStore
    source: Source
    shortcuts: Shortcuts  # past the source, to the stores behind it
    account: OwnAccount
    manifests: PublishedManifests
    inflight: InFlight
    buffers: Buffers
    settings: CacheSettings
    meter: Meter
    provers: Executor
    tick: Callable[[], int]
    shared: Callable[[object, bytes], None]  # this stowage met a chunk that is stored already
    pinned: Callable[[ImageFacts, Content], bool]  # whether what comes in of it is to stay
