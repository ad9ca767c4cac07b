"""`[cache]`: the options of the chunk store and of the fills."""

from __future__ import annotations

from cacheproxy.config import MIB, CacheSettings
from cacheproxy.kinds import Directory, OneOf, Seconds, Size, SizeOf, Switch, Whole
from cacheproxy.option import Option, Section

CACHE = Section(
    "cache",
    CacheSettings,
    [
        Option(
            "enabled",
            Switch(),
            "Keep image data on this node. false: everything is passed through.",
        ),
        Option(
            "directory",
            Directory(),
            "Where the cache lives; created if it is not there. Files of others in it are left alone.",
        ),
        Option(
            "image_cache_size",
            Size(MIB),
            "Hard limit for everything that the cache puts on the disk, in bytes; 10G and 10GiB mean 10737418240. May be changed while the program runs (SIGHUP).",
            "limit_bytes",
        ),
        Option(
            "free_bytes_min",
            Size(0),
            "Bytes that the cache leaves free on its file system: it shrinks while others take them, and grows to its limit again.",
        ),
        Option(
            "free_inodes_min",
            Whole(0, 1 << 40),
            "Inodes that it leaves free likewise, where the file system counts them.",
        ),
        Option(
            "disk_hang_seconds",
            Seconds(1, 300),
            "A disk that does not finish something within so long is not used until it answers again; clients are served from the upstream.",
        ),
        Option(
            "project_share",
            Whole(1, 100),
            "Percent of image_cache_size that one project may fill before its own images go first when room is needed. An image counts for the project that owns it, a piece that several share for whoever brought it in. 100: no difference is made.",
        ),
        Option(
            "eviction",
            OneOf(("adaptive", "lru")),
            "Which pieces go when room is needed. lru: those that were not used for longest. adaptive: the same, until reading whole images once, or going through more than fits again and again, would have flushed what is used more often; then that is kept, as long as it pays.",
        ),
        Option(
            "chunk_bytes",
            SizeOf(choices=(MIB // 4, MIB, 4 * MIB)),
            "Size of the pieces in which images are stored, verified and evicted. Content that is stored already keeps its own.",
        ),
        Option(
            "unproven_ranges",
            OneOf(("serve", "wait")),
            "While an image is fetched for the first time, give ranges that do not run to its end as they arrive (serve), or once the whole image matched its hash (wait).",
        ),
        Option(
            "complete_in_background",
            Switch(),
            "Fetch the rest of an image of which somebody wanted a part.",
        ),
        Option(
            "fill_streams_max",
            Whole(1, 64),
            "Reads from the upstream at once, for one image.",
        ),
        Option(
            "fill_read_bytes_max",
            Size(MIB),
            "Longest range that is read from the upstream in one request.",
        ),
        Option(
            "fill_memory_bytes",
            Size(0),
            "Memory for the chunks of one image that are on their way from the upstream to the disk; reading pauses when the disk is so far behind. Each read in progress has room for one chunk, whatever this says.",
        ),
        Option(
            "fills_memory_bytes",
            Size(0),
            "The same, for all images together.",
        ),
        Option(
            "fills_max",
            Whole(1, 4096),
            "Images fetched at once; more wait their turn.",
        ),
        Option(
            "window_chunks",
            Whole(1, 64),
            "Chunks held open ahead of each reader.",
        ),
        Option(
            "keeper_wait_seconds",
            Seconds(2, 300),  # it gives one every second
            "After so long without a sign of life of the process that owns the cache, a response goes on from the upstream.",
        ),
        Option(
            "verify",
            OneOf(("disk-read", "always", "never")),
            "When a cached chunk is hashed and compared with its digest. disk-read: whenever any of it must come from the disk, at its first read after a start, and when its last time is longer ago than proof_seconds; what is in memory since is sent as it is, without a copy: who writes to a chunk file in place changes what is just on its way. What another program has the system read from a damaged disk can be taken for it. always: each time it is sent, from the very memory that was hashed; a short range costs the hash of its whole chunk. never: not at all, only size and times of its file must be as they were; for file systems that check what they read themselves. Whatever this says, bytes are hashed when they are fetched.",
        ),
        Option(
            "proof_seconds",
            Seconds(1, 31_536_000),
            "With verify = disk-read: how long a chunk that was read and hashed may be sent from memory without being hashed again.",
        ),
        Option(
            "scrub_rate",
            Size(0),
            "Bytes per second at which all chunks are read again from the disk in the background and compared with their digests, so that damage is found before it is wanted. Less while the cache is busy. 0: never.",
        ),
        Option(
            "scrub_interval_days",
            Whole(0, 3650),
            "From the beginning of one such round to the beginning of the next, at least. A round goes on after a restart where it was.",
        ),
        Option(
            "hot_files_max",
            Whole(16, 65536),
            "Chunk files that each worker keeps open for repeated hits; only what is open is answered by the fast lane. At most half of the descriptors that a process may have (LimitNOFILE).",
        ),
        Option(
            "bypass_rereads_max",
            Whole(0, 1024),
            "Whole images read again at once, by each worker, to continue a response without the cache where the upstream has no ranges; beyond, 503.",
        ),
    ],
)
