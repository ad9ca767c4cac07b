"""Every metric of the proxy: name, help, unit, and the equations that the figures satisfy."""

from __future__ import annotations

from collections.abc import Sequence

from cacheproxy.meter import (
    LAYOUT,
    Counter,
    Equation,
    Gauge,
    Histogram,
    Metric,
    SparseCounter,
    Term,
)

RESULTS = ("hit", "partial", "miss", "bypass", "refused", "error")
SOURCES = ("cache", "fill", "bypass")
FILL_RESULTS = ("ok", "failed", "mismatch")
MANIFEST_RESULTS = ("used", "none", "wrong", "failed")
NOTIFICATION_RESULTS = ("sent", "failed", "dropped")
CHILD_KINDS = ("keeper", "worker")
SIGNED_URL_RESULTS = ("given", "renewed", "refused")
SIGNED_REQUEST_RESULTS = (
    *("accepted", "malformed", "signature", "expired", "token", "refused", "unavailable"),
)
DISK_STATES = ("normal", "degraded", "bypass")
STORE_KINDS = ("file", "http", "swift", "s3", "rbd")  # as Glance calls them
UPSTREAMS = ("1", "2", "3", "4", "5", "6", "7", "8")  # as many as [upstream] url may name

FILE_REQUESTS = Counter(
    "cacheproxy_file_requests_total",
    "GET and HEAD requests for image data, counted as their answers end.",
)
REQUESTS = Counter(
    "cacheproxy_requests_total",
    "The same requests, counted apart by result: all, some or none of the chunks were present "
    "(304 and HEAD are hits, 416 by what was present), streamed uncached, refused, failed.",
    label="result",
    values=RESULTS,
)
FAST_REQUESTS = Counter(
    "cacheproxy_fast_requests_total",
    "Those of them that the fast lane answered, from open files and without a question.",
)
PASSTHROUGH_REQUESTS = SparseCounter(
    "cacheproxy_passthrough_requests_total",
    "Requests passed through to the upstream, by the status that the client got.",
    label="code",
    values=map(str, range(100, 1000)),  # whatever three digits an upstream may invent
)
CACHE_API_REQUESTS = SparseCounter(
    "cacheproxy_cache_api_requests_total",
    "Requests to /v2/cache that this node answered by itself (cache_api = local), by status.",
    label="code",
    values=map(str, range(100, 1000)),
)
PERMISSION_QUESTIONS = Counter(
    "cacheproxy_permission_questions_total",
    "Questions to the upstream whether a caller may download an image.",
)
RECENTLY_ALLOWED = Counter(
    "cacheproxy_recently_allowed_total",
    "How often a caller went on because the upstream did not answer and had allowed it recently.",
)
SIGNED_URLS = Counter(
    "cacheproxy_signed_urls_total",
    "Requests for a signed URL, or for the renewal of one.",
    label="result",
    values=SIGNED_URL_RESULTS,
)
SIGNED_REQUESTS = Counter(
    "cacheproxy_signed_requests_total",
    "Requests for image data with a signed URL: accepted, or why not (no signed URL at all, altered, "
    "expired, its token ended, not allowed any more, nobody to ask). All are file requests, too.",
    label="result",
    values=SIGNED_REQUEST_RESULTS,
)
SERVED_BYTES = Counter(
    "cacheproxy_served_bytes_total",
    "Image data sent to clients: verified from the disk, as a fill landed it, or uncached.",
    unit="bytes",
    label="source",
    values=SOURCES,
)
UPSTREAM_REQUESTS = Counter(
    "cacheproxy_upstream_requests_total",
    "Requests to the upstream for image data.",
)
UPSTREAM_BYTES = Counter(
    "cacheproxy_upstream_bytes_total",
    "Image data received from the upstream.",
    unit="bytes",
)
UPSTREAM_FAILURES = SparseCounter(
    "cacheproxy_upstream_failures_total",
    "Requests to one of the upstream's URLs that did not get the head of an answer, by its place "
    "in [upstream] url.",
    label="upstream",
    values=UPSTREAMS,
)
UPSTREAM_OPENINGS = SparseCounter(
    "cacheproxy_upstream_openings_total",
    "How often a process found that one of the URLs does not work, and went on without it.",
    label="upstream",
    values=UPSTREAMS,
)
UPSTREAM_FAILOVERS = Counter(
    "cacheproxy_upstream_failovers_total",
    "Requests that one URL did not answer and the next one was asked.",
)
UPSTREAM_DOWN = Counter(
    "cacheproxy_upstream_down_total",
    "Requests to the upstream that failed at once, because none of its URLs works.",
)
DIRECT_READS = SparseCounter(
    "cacheproxy_direct_reads_total",
    "Reads of image data straight from a store ([stores]), by the kind of store.",
    label="kind",
    values=STORE_KINDS,
)
DIRECT_BYTES = SparseCounter(
    "cacheproxy_direct_bytes_total",
    "Image data received straight from stores; upstream bytes do not count them.",
    unit="bytes",
    label="kind",
    values=STORE_KINDS,
)
DIRECT_FAILURES = SparseCounter(
    "cacheproxy_direct_failures_total",
    "Those of these reads that a store failed, refused or let wait too long, or that were not of "
    "the image's size.",
    label="kind",
    values=STORE_KINDS,
)
DIRECT_FALLBACKS = Counter(
    "cacheproxy_direct_fallbacks_total",
    "Reads that the upstream was asked for although the image is in stores that are read directly: "
    "none of them could be read then.",
)
LOCATION_QUESTIONS = Counter(
    "cacheproxy_location_questions_total",
    "Questions to the upstream where an image is, so that a store can be read directly.",
)
DIRECT_FAILING = Gauge(
    "cacheproxy_direct_failing_stores",
    "Stores that failed when they were last read directly.",
)
MANIFESTS = Counter(
    "cacheproxy_manifests_total",
    "Published manifests asked for: used, none to be had, contradicting the image or themselves, "
    "or not received. Images without one are learnt as they are fetched.",
    label="result",
    values=MANIFEST_RESULTS,
)
MANIFEST_BYTES = Counter(
    "cacheproxy_manifest_bytes_total",
    "Published manifests received from the upstream.",
    unit="bytes",
)
FLIGHTS_JOINED = Counter(
    "cacheproxy_flights_joined_total",
    "Requests that joined a fill which another request had started.",
)
VERIFY_FAILURES = Counter(
    "cacheproxy_verify_failures_total",
    "Chunks or whole images whose bytes did not match their digest or hash.",
)
CHUNKS_MISSING = Counter(
    "cacheproxy_chunks_missing_total",
    "Chunks whose files somebody else had removed, noticed when they were wanted.",
)
SCRUBBED_CHUNKS = Counter(
    "cacheproxy_scrubbed_chunks_total",
    "Chunks that were read again from the disk in the background.",
)
SCRUBBED_BYTES = Counter(
    "cacheproxy_scrubbed_bytes_total",
    "Bytes of chunks that were read again from the disk in the background.",
    unit="bytes",
)
SCRUB_DAMAGED = Counter(
    "cacheproxy_scrub_damaged_total",
    "Chunks found damaged or missing in the background, before anybody asked for them.",
)
EVICTED_BYTES = Counter(
    "cacheproxy_evicted_bytes_total",
    "Bytes of chunks evicted to make room.",
    unit="bytes",
)
IMAGE_CHECKS = Counter(
    "cacheproxy_image_checks_total",
    "Questions of the proxy's own account whether a cached image still exists.",
)
IMAGES_FORGOTTEN = Counter(
    "cacheproxy_images_forgotten_total",
    "Images that are gone upstream, forgotten together with the chunks that no other image needs.",
)
NOTIFICATIONS = Counter(
    "cacheproxy_notifications_total",
    "Notifications of image data that was sent (image.send): sent to the message bus, not taken by "
    "it, or dropped because too many waited.",
    label="result",
    values=NOTIFICATION_RESULTS,
)
CHUNKS_STORED = Counter(
    "cacheproxy_chunks_stored_total",
    "Chunks written to the cache directory (equal and all-zero ones are not written again).",
)
CHILD_STARTS = Counter(
    "cacheproxy_child_starts_total",
    "Starts of child processes; more than one keeper, or than the workers configured: restarts.",
    label="kind",
    values=CHILD_KINDS,
)
START_TIME = Gauge(
    "cacheproxy_start_time_seconds",
    "When the daemon was started, in seconds since 1970.",
    unit="seconds",
)
CACHE_BYTES = Gauge(
    "cacheproxy_cache_bytes",
    "Bytes on disk that the cache limit covers.",
    unit="bytes",
)
CACHE_LIMIT_BYTES = Gauge(
    "cacheproxy_cache_limit_bytes",
    "The cache limit (option image_cache_size).",
    unit="bytes",
)
PINNED_BYTES = Gauge(
    "cacheproxy_pinned_bytes",
    "Bytes on disk of chunks that are pinned: they are never evicted to make room.",
    unit="bytes",
)
CACHE_EFFECTIVE_LIMIT_BYTES = Gauge(
    "cacheproxy_cache_effective_limit_bytes",
    "The limit that counts at present: lower than the configured one while less than "
    "free_bytes_min or free_inodes_min would be left to others.",
    unit="bytes",
)
RESERVED_BYTES = Gauge(
    "cacheproxy_reserved_bytes",
    "Bytes reserved for fills in progress.",
    unit="bytes",
)
DISK_STATE = Gauge(
    "cacheproxy_disk_state",
    "1 for the state that the cache's disk is in: normal; degraded, what is cached is served and "
    "nothing new is stored; bypass, the cache is not used, its process may not even run.",
    label="state",
    values=DISK_STATES,
)
DISK_TRANSITIONS = Counter(
    "cacheproxy_disk_transitions_total",
    "Changes of the disk's state, by the state that came.",
    label="to",
    values=DISK_STATES,
)
DISK_PROBE_FAILURES = Counter(
    "cacheproxy_disk_probe_failures_total",
    "Looks at the cache's disk, one a second, that found something wrong.",
)
DISK_FREE_BYTES = Gauge(
    "cacheproxy_disk_free_bytes",
    "Bytes that the cache's file system has left for ordinary users.",
    unit="bytes",
)
DISK_FREE_INODES = Gauge(
    "cacheproxy_disk_free_inodes",
    "Inodes that the cache's file system has left; 0 where it does not count them.",
)
SCRUB_PROGRESS = Gauge(
    "cacheproxy_scrub_progress",
    "How far the background check of all chunks is: 0 to 1, 0 between two rounds.",
)
SCRUB_FINISHED = Gauge(
    "cacheproxy_scrub_finished_timestamp_seconds",
    "When the background check last came to its end, in seconds since 1970; 0: never.",
    unit="seconds",
)
LEASES = Gauge(
    "cacheproxy_leases",
    "Windows of open chunks that responses in progress hold.",
)
HOT_FILES = Gauge(
    "cacheproxy_hot_files",
    "Open chunk files that workers keep for repeated hits.",
)
UPSTREAM_UNUSED = Gauge(
    "cacheproxy_upstream_unused",
    "How many of our processes do without one of the upstream's URLs at present, by its place in "
    "[upstream] url; 0: all is well.",
    label="upstream",
    values=UPSTREAMS,
)
FLIGHTS = Gauge(
    "cacheproxy_flights",
    "Fills in progress.",
)
CONNECTIONS = Gauge(
    "cacheproxy_connections",
    "Open client connections.",
)
TIME_TO_FIRST_BYTE = Histogram(
    "cacheproxy_time_to_first_byte_seconds",
    "From a request for image data to the first byte of its answer.",
    unit="seconds",
    label="result",
    values=RESULTS,
)
FILL_DURATION = Histogram(
    "cacheproxy_fill_duration_seconds",
    "From the start of a fill to its end, by how it ended.",
    unit="seconds",
    label="result",
    values=FILL_RESULTS,
)

METRICS: Sequence[Metric] = tuple(LAYOUT.metrics)

EQUATIONS: Sequence[Equation] = (
    Equation([Term(FILE_REQUESTS)], "=", [Term(REQUESTS, (result,)) for result in RESULTS]),
    Equation([Term(FAST_REQUESTS)], "<=", [Term(FILE_REQUESTS)]),
    *(
        Equation([Term(TIME_TO_FIRST_BYTE, (result,))], "<=", [Term(REQUESTS, (result,))])
        for result in RESULTS
    ),
    Equation(
        [Term(SIGNED_REQUESTS, (result,)) for result in SIGNED_REQUEST_RESULTS],
        "<=",
        [Term(FILE_REQUESTS)],
    ),
    Equation([Term(CACHE_BYTES), Term(RESERVED_BYTES)], "<=", [Term(CACHE_LIMIT_BYTES)]),
    Equation([Term(PINNED_BYTES)], "<=", [Term(CACHE_BYTES)]),
    Equation([Term(SCRUB_DAMAGED)], "<=", [Term(VERIFY_FAILURES), Term(CHUNKS_MISSING)]),
    Equation([Term(SCRUB_DAMAGED)], "<=", [Term(SCRUBBED_CHUNKS)]),
    *(
        Equation([Term(UPSTREAM_OPENINGS, (each,))], "<=", [Term(UPSTREAM_FAILURES, (each,))])
        for each in UPSTREAMS
    ),
    *(
        Equation([Term(DIRECT_FAILURES, (each,))], "<=", [Term(DIRECT_READS, (each,))])
        for each in STORE_KINDS
    ),
    Equation([Term(RESERVED_BYTES)], "=", []),
    Equation([Term(LEASES)], "=", []),
    Equation([Term(FLIGHTS)], "=", []),
)
