"""The named steps of a keeper's and a worker's life at which tests kill the real processes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from harness.inject.steering import Action, Moment

# What a test has to do so that the steps of a group are met; see harness/scene.py.
Group = Literal[
    "fill",
    "publish",
    "link",
    "index",
    "evict",
    "quarantine",
    "pin",
    "forget",
    "send",
    "start",
    "migrate",
    "rebuild",
    "scrub",
    "stop",
]

STORE = "cacheproxy.store"
FILL = "cacheproxy.fill"

STEPS: dict[Group, tuple[str, ...]] = {
    # From the first request for an image to its proof.
    "fill": (
        f"{FILL}.flights:Flights.admit",
        f"{FILL}.flights:Flights.join",
        f"{FILL}.stowage:Stowage.begin_learning",
        f"{FILL}.stowage:Stowage.land",
        f"{FILL}.fill:Fill._prove",
        f"{FILL}.fill:Fill._end",
        f"{FILL}.flights:Flights._proven",
        f"{FILL}.content:Content.promote",
        f"{FILL}.content:Content.discard",
        f"{FILL}.content:Contents.bind",
    ),
    # From a record that names a manifest to an image bound to it.
    "publish": (
        f"{FILL}.published:PublishedManifests._adopt",
        f"{FILL}.published:PublishedManifests._bring",
        f"{FILL}.content:Contents.publish",
        f"{FILL}.pages:ManifestPages.publish",
        f"{FILL}.pages:ManifestPages.put",
    ),
    # From a chunk in memory to a file with its name and its place in the ledger.
    "link": (
        f"{STORE}.room:Room.reserve",
        f"{STORE}.promise:Promise.cover",
        f"{STORE}.intake:Intake.put",
        f"{STORE}.files:ChunkFiles._create",
        f"{STORE}.files:ChunkFiles._make_directory",
        f"{STORE}.files:ChunkFiles._publish",
        f"{STORE}.files:ChunkFiles.write",
        f"{STORE}.intake:Intake._stored",
    ),
    # From a change to its commit.
    "index": (
        f"{STORE}.writer:Writer._pump",
        f"{STORE}.index:IndexFile.apply",
        f"{STORE}.index:IndexFile._place",
        f"{STORE}.writer:Writer._committed",
    ),
    # From the search for a victim to its bytes being free.
    "evict": (
        f"{STORE}.room:Room._search",
        f"{STORE}.departures:Departures.retire",
        "cacheproxy.processes.keeper:dying",
        f"{STORE}.departures:Departures.freed",
        f"{STORE}.departures:Departures._leave",
        f"{STORE}.files:ChunkFiles.unlink",
        f"{STORE}.departures:Departures._unlinked",
        f"{STORE}.departures:Departures._forget",
        f"{STORE}.departures:Departures._gone",
    ),
    # From a damaged chunk met by a reader to its file being set aside.
    "quarantine": (
        f"{STORE}.provenchunks:ProvenChunks._open_and_prove",
        f"{STORE}.departures:Departures.expel",
        f"{STORE}.files:ChunkFiles.set_aside",
        f"{STORE}.quarantine:Quarantine.take",
        f"{STORE}.quarantine:Quarantine.trim",
        f"{STORE}.departures:Departures._expelled",
    ),
    # From the operator's word to the file and the chunks that keep it.
    "pin": (
        f"{STORE}.pinlist:PinList._write",
        f"{STORE}.pinfile:PinFile.replace",
        f"{STORE}.pinlist:PinList._written",
        f"{FILL}.pins:Pins._take_in",
        f"{FILL}.pins:Pins._let_out",
    ),
    # From a delete that passed through to records and chunks being gone.
    "forget": (
        f"{FILL}.gone:GoneImages._forget",
        f"{STORE}.chunkstore:ChunkStore.drop",
        f"{FILL}.pages:ManifestPages.forget",
        f"{STORE}.chunkstore:ChunkStore.forget_image",
    ),
    # A worker, from the request to the last lease given back.
    "send": (
        "cacheproxy.serve:Images.find",
        "cacheproxy.serve:Images.open",
        "cacheproxy.processes.link:KeeperLink._chunk",
        "cacheproxy.hotset:HotSet.add",
        "cacheproxy.hotset:HotSet.lease",
        "cacheproxy.hotset:HotSet.release",
        "cacheproxy.hotset:HotSet._close",
    ),
    # From the lock on the directory to files and index saying the same.
    "start": (
        f"{STORE}.tree:Tree.take",
        f"{STORE}.files:ChunkFiles.open",
        f"{STORE}.index:IndexFile.__init__",
        f"{STORE}.files:ChunkFiles.make_zeros",
        f"{STORE}.opening:assemble",
        f"{STORE}.chunkstore:ChunkStore.open",
        "cacheproxy.processes.link:KeeperLink.connect",
        f"{STORE}.promise:Promise._rise",
        f"{STORE}.promise:Promise._risen",
        f"{STORE}.reconcile:Reconciler._directory",
        f"{STORE}.reconcile:Reconciler._adopt",
        f"{STORE}.entries:Entries.adopt",
    ),
    # A start on an index of the schema before this one.
    "migrate": (
        f"{STORE}.index:IndexFile._settle_schema",
        f"{STORE}.index:IndexFile._migrate_from_1",
    ),
    # A start on an index that cannot be used.
    "rebuild": (f"{STORE}.files:ChunkFiles.set_index_aside",),
    # The background check of all chunks, of which some are damaged.
    "scrub": (
        f"{STORE}.scrub:Scrubber._whole",
        f"{STORE}.provenchunks:ProvenChunks.check",
        f"{STORE}.scrub:Scrubber._count",
        f"{STORE}.scrub:Scrubber._save",
    ),
    # From the order to stop to the lock being free.
    "stop": (
        "cacheproxy.processes.worker:Worker.run",
        "cacheproxy.processes.keeper:Keeper.close",
        f"{FILL}.flights:Flights.close",
        f"{FILL}.content:Content.save",
        f"{STORE}.chunkstore:ChunkStore.close",
        f"{STORE}.entries:Entries.flush",
        f"{STORE}.writer:Writer.sync",
        f"{STORE}.promise:Promise.settle",
        f"{STORE}.writer:Writer.close",
        f"{STORE}.index:IndexFile.close",
        f"{STORE}.files:ChunkFiles.close",
    ),
}

# After these nothing is left to be killed, or before them nothing has begun.
NEVER = {
    ("cacheproxy.processes.worker:Worker.run", Moment.BEFORE),
}
# Met by workers: their own clients may be reset.
WORKERS = (
    *STEPS["send"],
    "cacheproxy.processes.link:KeeperLink.connect",
    "cacheproxy.processes.worker:Worker.run",
)


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: at which step, the how-manieth time, and of whom."""

    group: Group
    step: str
    moment: Moment
    nth: int
    action: Action

    @property
    def of_worker(self) -> bool:
        """Whether it is a worker that meets the step."""
        return self.step in WORKERS

    def __str__(self) -> str:
        where = self.step.removeprefix("cacheproxy.")
        return f"{self.action.name} {self.moment.name.lower()} {where} #{self.nth}"


def rare(group: Group) -> bool:
    """Whether a process may meet the steps of a group but once."""
    return group in ("start", "migrate", "rebuild", "scrub", "stop")


def all_names() -> list[str]:
    """Return every step once."""
    return [step for steps in STEPS.values() for step in steps]


def all_kills(seed: int) -> list[Kill]:
    """Return one kill at each moment of each step, of the process and of the whole program."""
    chance = random.Random(seed)
    return [
        Kill(group, step, moment, 1 if rare(group) else chance.choice((1, 1, 2, 3)), action)
        for group, steps in STEPS.items()
        for step in steps
        for moment in Moment
        for action in (Action.KILL, Action.KILL_ALL)
        if (step, moment) not in NEVER
    ]


def some_kills(seed: int) -> list[Kill]:
    """Return a few of `all_kills`: one of each group."""
    chance = random.Random(seed)
    return [
        chance.choice([kill for kill in all_kills(seed) if kill.group == group]) for group in STEPS
    ]
