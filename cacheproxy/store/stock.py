"""What the parts of a chunk store share."""

from __future__ import annotations

from dataclasses import dataclass

from cacheproxy.core.eviction import Policy
from cacheproxy.core.ledger import Ledger
from cacheproxy.core.proof import Proofs
from cacheproxy.meter import Meter
from cacheproxy.store.disk import Disk
from cacheproxy.store.entries import Entries
from cacheproxy.store.files import ChunkFiles
from cacheproxy.store.holds import Holds
from cacheproxy.store.openfiles import OpenFiles
from cacheproxy.store.threads import Threads
from cacheproxy.store.writer import Writer


@dataclass(frozen=True, slots=True)
class Stock:
    """One cache directory: its files, what is known of them, and who works on them."""

    files: ChunkFiles
    writer: Writer
    ledger: Ledger
    entries: Entries
    holds: Holds
    proofs: Proofs
    open_files: OpenFiles
    policy: Policy
    threads: Threads
    meter: Meter
    disk: Disk
