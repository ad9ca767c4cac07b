"""What the daemon tells: the results of the admin commands, as they are printed with `--json`.

Sizes are bytes of image data unless a name says `disk`: those are bytes on disk.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Knowledge = Literal["published", "proven", "learning", "unknown"]
"""Why a content's bytes are believed: its catalog published their digests; they matched the
image's hash; not yet; nothing is known of it, it is only pinned."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The base of everything told."""


# --- status -------------------------------------------------------------------------------------


class Worker(Told, frozen=True, kw_only=True):
    """A process that answers requests."""

    number: int
    pid: int


class Processes(Told, frozen=True, kw_only=True):
    """The daemon's processes that are alive and connected."""

    supervisor_pid: int
    keeper_pid: int
    workers: list[Worker]
    keeper_starts: int  # more than one: it was started again
    worker_count: int  # as configured
    worker_starts: int


class Space(Told, frozen=True, kw_only=True):
    """Bytes on disk that the limit covers."""

    limit_bytes: int  # as configured
    effective_limit_bytes: int  # lower where others fill the file system
    used_bytes: int  # all that follows but what is reserved or pinned
    chunk_bytes: int
    quarantine_bytes: int
    unknown_bytes: int  # what may exist beside the index, until all of it was looked at
    overhead_bytes: int  # index and directories
    reserved_bytes: int  # for fills in progress
    pinned_bytes: int  # of the chunks
    reconciled: bool  # files and index were compared since the start


class Counts(Told, frozen=True, kw_only=True):
    """How much is known."""

    chunks: int
    contents: int
    images: int
    pinned: int


class Requests(Told, frozen=True, kw_only=True):
    """Requests for image data since the daemon's start."""

    hit: int
    partial: int
    miss: int
    bypass: int
    refused: int
    error: int
    hit_ratio: float | None  # of those that the cache had a part in; None: there were none
    served_bytes: int
    cached_byte_ratio: float | None  # the share of the bytes that came from the disk


class Disk(Told, frozen=True, kw_only=True):
    """The health of the disk that the cache is on."""

    state: Literal["normal", "degraded", "bypass"]
    trouble: str | None


class Scrub(Told, frozen=True, kw_only=True):
    """The background check of all chunks; times in seconds since 1970, 0: never."""

    state: Literal["off", "waiting", "running"]
    progress: float  # of this round, 0 to 1; 1 of one that has ended
    chunks: int  # read in this round, or the last one
    read_bytes: int
    damaged_chunks: int
    begun_at: float
    finished_at: float


class FillInProgress(Told, frozen=True, kw_only=True):
    """A fill: an image on its way into the cache."""

    image: str
    size_bytes: int
    there_bytes: int  # of the image; while parts of a known image are fetched, what came by now
    whole: bool  # all of the image is to come
    readers: int
    seconds: float


class UpstreamUrl(Told, frozen=True, kw_only=True):
    """One URL of the upstream."""

    url: str
    unused_by: int  # of our processes: they found that it does not work; 0: all is well


class DirectStore(Told, frozen=True, kw_only=True):
    """A store that is read directly."""

    name: str
    kind: str
    trouble: str | None  # what it failed with; None: all is well


class StatusResult(Told, frozen=True, kw_only=True):
    """`cacheproxy status`."""

    version: str
    directory: str
    uptime_seconds: float
    processes: Processes
    upstreams: list[UpstreamUrl]
    stores: list[DirectStore] = []
    disk: Disk
    space: Space
    scrub: Scrub
    counts: Counts
    requests: Requests
    fills_in_progress: int
    fills: list[FillInProgress]  # the first of them


# --- images -------------------------------------------------------------------------------------


class ImageRow(Told, frozen=True, kw_only=True):
    """One image of `cacheproxy list`."""

    image: str
    size_bytes: int
    cached_bytes: int
    knowledge: Knowledge
    pinned: bool
    filling: bool


class ListResult(Told, frozen=True, kw_only=True):
    """The end of a list."""

    images: int  # rows that came before


class Range(Told, frozen=True, kw_only=True):
    """A part of an image, in bytes: from `start` to before `stop`."""

    start: int
    stop: int


class Cached(Told, frozen=True, kw_only=True):
    """What of an image is in the cache."""

    cached_bytes: int
    chunks: int
    chunk_count: int
    ranges: list[Range]  # the first of them
    range_count: int
    cells: list[float]  # the share that is there, of equal parts of the image


class ShowResult(Told, frozen=True, kw_only=True):
    """`cacheproxy show IMAGE`."""

    image: str
    size_bytes: int
    checksum: str | None
    hash_algo: str | None
    hash_value: str | None
    content: str
    chunk_bytes: int
    knowledge: Knowledge
    pinned: bool
    same_content: list[str]  # other images with the same content; the first of them
    cached: Cached
    fill: FillInProgress | None


# --- changes ------------------------------------------------------------------------------------


class PinResult(Told, frozen=True, kw_only=True):
    """`cacheproxy pin IMAGE` and `unpin IMAGE`."""

    image: str
    pinned: bool
    changed: bool  # False: it was so already


class Outcome(Told, frozen=True, kw_only=True):
    """What became of one image of several."""

    image: str
    error: str | None = None  # None: it went well


class Evicted(Outcome, frozen=True, kw_only=True):
    """What evicting did to an image."""

    dropped_chunks: int = 0
    dropped_disk_bytes: int = 0
    held_chunks: int = 0  # dropped, but responses send from them; their bytes follow
    held_disk_bytes: int = 0
    shared_chunks: int = 0  # stay, because other images have them too
    shared_disk_bytes: int = 0
    busy_chunks: int = 0  # stay, because a fill in progress needs them


class EvictResult(Told, frozen=True, kw_only=True):
    """`cacheproxy evict IMAGE...`."""

    images: list[Evicted]


class Prefetched(Outcome, frozen=True, kw_only=True):
    """What prefetching did to an image."""

    size_bytes: int = 0
    cached_bytes: int = 0  # at the end
    fetched_bytes: int = 0  # came meanwhile, for whomever
    seconds: float = 0.0


class PrefetchResult(Told, frozen=True, kw_only=True):
    """`cacheproxy prefetch IMAGE...`; without waiting, what was begun."""

    waited: bool
    images: list[Prefetched]


class Verified(Outcome, frozen=True, kw_only=True):
    """What was found of one image."""

    chunks: int = 0
    bad_chunks: int = 0  # damaged, missing or unreadable


class VerifyResult(Told, frozen=True, kw_only=True):
    """`cacheproxy verify [IMAGE...]`."""

    images: list[Verified]  # those that were named
    chunks: int  # looked at
    read_bytes: int
    damaged_chunks: int  # set aside; they are fetched again when somebody wants them
    missing_chunks: int  # known, but their files were not there
    unreadable_chunks: int  # the disk did not let their files be opened
    bad: list[str]  # the digests of the first of the damaged and missing
    seconds: float


class OfflineResult(Told, frozen=True, kw_only=True):
    """`cacheproxy verify --offline`."""

    directory: str
    index: Literal["readable", "damaged", "absent"]
    chunks: int  # files read
    read_bytes: int
    damaged_chunks: int
    missing_chunks: int  # the index lists them, but their files are not there
    unreadable_chunks: int  # the disk did not let their files be opened
    orphans: int  # files that the index does not list; the next start adopts them
    set_aside_chunks: int  # damaged ones, with --repair
    bad: list[str]  # the digests of the first of the damaged and missing
    seconds: float


class PurgeResult(Told, frozen=True, kw_only=True):
    """`cacheproxy purge [IMAGE]`."""

    image: str | None  # null: all
    workers: int  # that were told


class GcResult(Told, frozen=True, kw_only=True):
    """`cacheproxy gc`."""

    images: int  # records removed: their content is not known any more
    contents: int  # records removed: no image has them, and no fill
    chunks: int  # dropped: no content lists them
    chunk_disk_bytes: int
    quarantine_disk_bytes: int  # removed from there


# --- progress -----------------------------------------------------------------------------------

Phase = Literal["look", "fetch", "prove", "hash"]


class Progress(Told, frozen=True, kw_only=True):
    """How far a command is with one image, or with all of the cache where `image` is empty."""

    image: str
    phase: Phase
    done_bytes: int
    total_bytes: int


# --- failure ------------------------------------------------------------------------------------

ErrorCode = Literal[
    "protocol",  # not a request of this version
    "busy",  # too many clients at once
    "unknown-image",  # nothing is known of it
    "refused",  # it would break a promise: a pin, a fill in progress, a limit
    "upstream",  # the Glance behind the proxy did not give it
    "storage",  # the cache's disk
    "failed",  # anything else; the daemon's log tells more
]
