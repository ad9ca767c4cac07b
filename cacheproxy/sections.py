"""The sections of `cacheproxy.conf`: every option's name, kind and help.

Defaults stand in the settings' dataclasses only (`config.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cacheproxy.config import (
    MIB,
    CacheSettings,
    KeystoneSettings,
    MetricsSettings,
    NotificationSettings,
    ServiceUserSettings,
    Settings,
    SignedUrlSettings,
    UpstreamSettings,
)
from cacheproxy.kinds import (
    Directory,
    FilePath,
    Host,
    KeystoneUrl,
    Kind,
    OneOf,
    OptionalDirectory,
    OptionalUrl,
    Seconds,
    Secret,
    ServiceUrls,
    Size,
    SizeOf,
    SocketPath,
    Switch,
    Text,
    Whole,
)


@dataclass(frozen=True)
class Option:
    """One option; `field` is the settings' field where that has another name."""

    name: str
    kind: Kind
    help: str
    field: str = ""

    @property
    def target(self) -> str:
        """The field of the settings."""
        return self.field or self.name


@dataclass(frozen=True)
class Section:
    """A section of the file and the dataclass that it fills."""

    name: str
    settings: type[Any]
    options: Sequence[Option]

    def default(self, option: Option) -> Any:
        """Return an option's default; `dataclasses.MISSING` where it must be set."""
        (field,) = (f for f in dataclasses.fields(self.settings) if f.name == option.target)
        return field.default


SECTIONS = (
    Section(
        "DEFAULT",
        Settings,
        [
            Option(
                "bind_host",
                Host(),
                "Address on which the proxy answers the Images API. A name is resolved once, at start; :: means IPv4 and IPv6.",
                "host",
            ),
            Option(
                "bind_port",
                Whole(0, 65535),
                "Port of the Images API. 0 takes any free one; the log tells which.",
                "port",
            ),
            Option(
                "cert_file",
                FilePath(),
                "Answer the Images API over TLS with this certificate and those above it, in PEM; read again on SIGHUP. Unix sockets and the metrics stay without. Empty: no TLS.",
            ),
            Option(
                "key_file",
                FilePath(),
                "The key of that certificate, without a passphrase, not readable by others. Empty: it is in the same file.",
            ),
            Option(
                "ca_file",
                FilePath(),
                "A file of authorities, in PEM, one of which must vouch for each client's own certificate. Empty: clients need none.",
            ),
            Option(
                "workers",
                Whole(1, 64),
                "Processes that answer requests, each on a core of its own at most.",
            ),
            Option(
                "hang_seconds",
                Seconds(2, 3600),
                "A process of ours that shows no sign of life for so long is killed and replaced.",
            ),
            Option(
                "drain_seconds",
                Seconds(0, 86400),
                "How long a stop waits for responses in progress before it breaks them off.",
            ),
            Option(
                "connections_max",
                Whole(1, 1_000_000),
                "Client connections open at once, all workers together; more wait to be accepted.",
            ),
            Option(
                "cache_api",
                OneOf(("upstream", "local")),
                "Whose image cache /v2/cache manages (glance cache-list, cache-queue, cache-delete, cache-clear). upstream: that of the Glance behind the proxy. local: this node's own. It is for administrators; who is one says Keystone ([keystone]), or without it the upstream, by answering GET /v2/cache with 200.",
            ),
            Option(
                "admin_socket",
                SocketPath(),
                "Where `cacheproxy status` and the other commands reach the daemon. Owner and group may use it. Not set: admin.sock in [cache] directory.",
            ),
        ],
    ),
    Section(
        "upstream",
        UpstreamSettings,
        [
            Option(
                "url",
                ServiceUrls(),
                "The Glance behind the proxy, as in its endpoint in Keystone's catalog; a path is kept, a trailing /v2 is dropped. Several URLs must lead to the same service, with the same images and the same Keystone: the first one that works is used, the others are asked while it does not. Must be set.",
            ),
            Option(
                "cafile",
                FilePath(),
                "For https URLs: a file of the authorities that vouch for the upstream, in PEM. Empty: those that this machine trusts.",
            ),
            Option(
                "certfile",
                FilePath(),
                "For https URLs: the proxy's own certificate, in PEM, for an upstream that asks for one.",
            ),
            Option(
                "keyfile",
                FilePath(),
                "The key of that certificate, without a passphrase. Empty: it is in the same file.",
            ),
            Option(
                "insecure",
                Switch(),
                "For https URLs: believe whoever answers to be the upstream. Whoever can get between then reads all tokens and sends any image data.",
            ),
            Option(
                "trust_upstream_hashes",
                Switch(),
                "Believe an image's os_hash_value before its bytes were seen, so that equal images are fetched once. Only for a Glance whose users cannot set hashes with locations.",
            ),
            Option(
                "connect_timeout_seconds",
                Seconds(0.1, 300),
                "Longest wait for a connection to the upstream.",
            ),
            Option(
                "read_timeout_seconds",
                Seconds(1, 3600),
                "Longest wait for the beginning of the upstream's answer to a request that only reads, and longest silence in the middle of any answer.",
            ),
            Option(
                "failover_seconds",
                Seconds(1, 3600),
                "With several URLs: how long a request that only reads waits for the beginning of an answer before the next URL is asked. The last one is given read_timeout_seconds. A request that changes something is never sent twice.",
            ),
            Option(
                "change_timeout_seconds",
                Seconds(1, 86400),
                "Longest wait for the answer to an upload or another change once it is sent: storing a large image can take long.",
            ),
            Option(
                "permission_seconds",
                Seconds(0, 3600),
                "How long the upstream's word that a caller may download an image is believed. 0 asks every time.",
            ),
            Option(
                "permission_entries_max",
                Whole(1, 10_000_000),
                "How many such words each worker remembers.",
            ),
            Option(
                "on_upstream_failure",
                OneOf(("refuse", "serve-recently-allowed")),
                "What becomes of clients while the upstream does not answer. refuse: 503, also for what is cached. serve-recently-allowed: whoever was allowed to download an image within recently_allowed_seconds, and not refused since, goes on to get what is cached of it.",
            ),
            Option(
                "recently_allowed_seconds",
                Seconds(1, 7 * 86400),
                "How long, from the upstream's last word that he may, a caller goes on without it; only with serve-recently-allowed. A right that is withdrawn while the upstream is silent is believed for as long.",
            ),
            Option(
                "gone_poll_seconds",
                Seconds(0, 7 * 86400),
                "How often the proxy's own account ([service_user]) asks, image by image, whether what is cached still exists. A catalog of cacheproxy tells by itself and is only listened to. 0: never.",
            ),
        ],
    ),
    Section(
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
                "When a cached chunk is hashed and compared with its digest. disk-read: whenever any of it must come from the disk, at its first read after a start, and when its last time is longer ago than proof_seconds; what is in memory since is sent as it is. What another program has the system read from a damaged disk can be taken for it. always: each time it is sent, from the very memory that was hashed; a short range costs the hash of its whole chunk. never: not at all, only size and times of its file must be as they were; for file systems that check what they read themselves. Whatever this says, bytes are hashed when they are fetched.",
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
                "Chunk files that each worker keeps open for repeated hits.",
            ),
            Option(
                "bypass_rereads_max",
                Whole(0, 1024),
                "Whole images read again at once, by each worker, to continue a response without the cache where the upstream has no ranges; beyond, 503.",
            ),
        ],
    ),
    Section(
        "metrics",
        MetricsSettings,
        [
            Option("bind_host", Host(), "Address on which Prometheus finds GET /metrics.", "host"),
            Option(
                "bind_port",
                Whole(0, 65535),
                "Port of the metrics. 0 takes any free one; the log tells which.",
                "port",
            ),
        ],
    ),
    Section(
        "service_user",
        ServiceUserSettings,
        [
            Option(
                "auth_url",
                KeystoneUrl(),
                "Keystone of the proxy's own account, which looks after cached images when no caller is there: whether they still exist, and that a download is completed whose callers' tokens have expired. It needs a role that sees and downloads every image (admin, in stock Glance). Empty: no account.",
            ),
            Option("username", Text(), "Its name, unless it has an application credential."),
            Option(
                "password", Secret(), "Its password. Keep this file readable for the proxy only."
            ),
            Option("user_domain_name", Text(), "The domain of its name."),
            Option("project_name", Text(), "The project that its tokens are for."),
            Option("project_domain_name", Text(), "The domain of that project."),
            Option(
                "application_credential_id",
                Text(),
                "An application credential, in place of name, password and project.",
            ),
            Option("application_credential_secret", Secret(), "The secret of that credential."),
            Option("cafile", Text(), "A file of the authorities that vouch for Keystone, in PEM."),
            Option("timeout_seconds", Seconds(1, 300), "Longest wait for Keystone."),
        ],
    ),
    Section(
        "signed_urls",
        SignedUrlSettings,
        [
            Option(
                "enabled",
                Switch(),
                "Answer POST /cacheproxy/v1/images/{id}/url with a URL by which this image, and nothing else, can be read without a token until it expires: for qemu, whose HTTP driver cannot send one. Whoever has such a URL can use it. See docs/signed-urls.md.",
            ),
            Option(
                "directory",
                OptionalDirectory(),
                "Where the keys are that sign them, and the ends of renewed URLs; made for this user alone. Not set: signed-urls in [cache] directory. Without its files all URLs that were given out end.",
            ),
            Option(
                "base_url",
                OptionalUrl(),
                "How URLs begin, where their users do not reach the proxy under the name by which it was asked for them. Not set: http:// (https:// with [DEFAULT] cert_file) and the Host of that request.",
            ),
            Option(
                "lifetime_seconds",
                Whole(1, 31_536_000),
                "How long a URL lives for which no lifetime was asked.",
            ),
            Option(
                "lifetime_seconds_max",
                Whole(1, 31_536_000),
                "The longest lifetime that may be asked for. A URL can be renewed for as long again, as often as its token's owner may download the image.",
            ),
            Option(
                "key_days",
                Whole(1, 3650),
                "After so many days a new key signs. Those before it verify what they have signed until it has expired.",
            ),
        ],
    ),
    Section(
        "keystone",
        KeystoneSettings,
        [
            Option(
                "auth_url",
                KeystoneUrl(),
                "Keystone, to look up who sends a token: for cache_api = local, and for project and user in the access log. A token vouches for itself, no account is needed. Whether a caller may have an image is always asked of the upstream. Empty: nobody looks.",
            ),
            Option(
                "cafile",
                FilePath(),
                "Certificates of the authorities that vouch for this Keystone, in PEM. Not set: those that this machine trusts.",
            ),
            Option("timeout_seconds", Seconds(1, 300), "Longest wait for Keystone."),
            Option(
                "token_seconds",
                Seconds(0, 3600),
                "How long Keystone's word on a token is believed; one that is revoked is taken for so long.",
            ),
        ],
    ),
    Section(
        "notifications",
        NotificationSettings,
        [
            Option(
                "transport_url",
                Secret(),
                "Message bus to which image.send notifications go, as Glance's transport_url, for the answers that come from this node's cache and that Glance therefore does not notify of. Needs oslo.messaging (pip install cacheproxy[notifications]). A bus that is away costs notifications, nothing waits for it. Empty: none are sent.",
            ),
            Option("topic", Text(), "Topic on which they are sent."),
            Option(
                "driver",
                OneOf(("messagingv2", "messaging", "log")),
                "Driver of oslo.messaging's notifier. log: they go to this program's log.",
            ),
            Option(
                "publisher_id",
                Text(),
                "Who they are said to come from. Empty: image. and the name of this machine.",
            ),
        ],
    ),
)
