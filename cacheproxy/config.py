"""The proxy's settings, frozen; `options.py` reads them from configuration files.  Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """`[upstream]`: the Glance behind the proxy."""

    url: str  # base URLs of one service, the preferred one first, commas between them
    cafile: Path | None = None  # None: the authorities that this machine trusts
    certfile: Path | None = None  # what the proxy shows an upstream that asks; may hold the key
    keyfile: Path | None = None
    insecure: bool = False
    trust_upstream_hashes: bool = False
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 60.0  # to an answer's head, and the longest silence in its middle
    failover_seconds: float = 15.0  # to an answer's head, where another URL can be asked
    change_timeout_seconds: float = 3600.0  # from the last byte of a change to its answer
    permission_seconds: float = 10.0  # how long an "allowed" is believed
    permission_entries_max: int = 65_536
    on_upstream_failure: Literal["refuse", "serve-recently-allowed"] = "refuse"
    recently_allowed_seconds: float = 900.0  # from an "allowed", for serve-recently-allowed
    gone_poll_seconds: float = 21_600.0  # between two looks for images that are gone; 0: never

    @property
    def serves_recently_allowed(self) -> bool:
        """Whether those who were allowed recently go on while the upstream is silent."""
        return self.on_upstream_failure == "serve-recently-allowed"

    @property
    def urls(self) -> tuple[str, ...]:
        """The base URLs, without a trailing slash and without /v2; they may have a path."""
        return tuple(url.strip() for url in self.url.split(","))

    @property
    def head_seconds(self) -> float:
        """How long a reading request waits for the head of an answer before it is given up."""
        return self.failover_seconds if len(self.urls) > 1 else self.read_timeout_seconds


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """`[cache]`: the chunk store and the fills."""

    enabled: bool = True
    directory: Path = Path("/var/lib/cacheproxy")
    limit_bytes: int = 10 << 30  # option image_cache_size
    free_bytes_min: int = 1 << 30  # left free for others; the cache shrinks for it
    free_inodes_min: int = 10_000
    disk_hang_seconds: float = 10.0  # a disk that takes longer over anything is gone round
    project_share: int = 100  # percent of the limit; above it, a project's own chunks go first
    eviction: Literal["adaptive", "lru"] = "adaptive"  # see core/adaptive.py
    chunk_bytes: int = MIB  # 256 KiB, 1 MiB or 4 MiB
    unproven_ranges: Literal["serve", "wait"] = "serve"
    complete_in_background: bool = True
    fill_streams_max: int = 4  # upstream reads at once, per fill
    fill_read_bytes_max: int = 256 * MIB  # the longest single upstream range
    fill_memory_bytes: int = 8 * MIB  # chunks of one fill on their way to the disk
    fills_memory_bytes: int = 32 * MIB  # the same, of all fills together
    fills_max: int = 64  # fills at once; more wait their turn
    window_chunks: int = 16  # chunks leased ahead of a reader
    keeper_wait_seconds: float = 5.0  # a worker's longest wait for a sign of life of the keeper
    verify: Literal["disk-read", "always", "never"] = "disk-read"  # see chunkread.py
    proof_seconds: float = 3600.0  # how long a proof is believed
    scrub_rate: int = 8 * MIB  # bytes read again per second in the background; 0: none
    scrub_interval_days: int = 7  # from the beginning of one round to that of the next, at least
    hot_files_max: int = 4096  # open chunk files per worker: 4 GiB of images
    bypass_rereads_max: int = 4  # whole-image re-reads at once, sources without ranges


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """`[metrics]`: where Prometheus asks."""

    host: str = "127.0.0.1"
    port: int = 9293


@dataclass(frozen=True, slots=True)
class ServiceUserSettings:
    """`[service_user]`: the proxy's own account in Keystone; empty `auth_url`: it has none."""

    auth_url: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    user_domain_name: str = "Default"
    project_name: str = "service"
    project_domain_name: str = "Default"
    application_credential_id: str = ""
    application_credential_secret: str = field(default="", repr=False)
    cafile: str = ""  # empty: the authorities that this machine trusts
    timeout_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class SignedUrlSettings:
    """`[signed_urls]`: URLs for clients that cannot send a token."""

    enabled: bool = False
    directory: Path | None = None  # None: signed-urls in the cache's directory
    base_url: str = ""  # empty: the `Host` of the request that asks for one
    lifetime_seconds: int = 3600  # unless the request names another one
    lifetime_seconds_max: int = 86_400
    key_days: int = 30  # a new key signs after so many


@dataclass(frozen=True, slots=True)
class KeystoneSettings:
    """`[keystone]`: where clients' tokens are looked up; empty `auth_url`: nowhere."""

    auth_url: str = ""
    cafile: Path | None = None  # None: the authorities that this machine trusts
    timeout_seconds: float = 10.0
    token_seconds: float = 60.0  # how long an answer is believed


@dataclass(frozen=True, slots=True)
class NotificationSettings:
    """`[notifications]`: where `image.send` goes; empty `transport_url`: nowhere."""

    transport_url: str = field(default="", repr=False)
    topic: str = "notifications"
    driver: Literal["messagingv2", "messaging", "log"] = "messagingv2"
    publisher_id: str = ""  # empty: "image." and the name of this machine


@dataclass(frozen=True, slots=True)
class StoreReadSettings:
    """`[stores]`: the stores behind the upstream that are read directly; no file: none are."""

    config_file: tuple[Path, ...] = ()  # of Glance; a directory: what ends with .conf in it
    read: tuple[str, ...] = ()  # empty: all that the files name, but of kind file and http
    stall_seconds: float = 10.0  # the longest silence of a store


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything, validated."""

    upstream: UpstreamSettings
    host: str = "127.0.0.1"
    port: int = 9292
    cert_file: Path | None = None  # with it clients talk TLS
    key_file: Path | None = None  # None: in cert_file
    ca_file: Path | None = None  # who vouches for clients; None: they show no certificate
    workers: int = 1
    hang_seconds: float = 10.0  # a child without a heartbeat for so long is killed
    drain_seconds: float = 30.0  # how long a stop waits for responses in progress
    connections_max: int = 8192  # open at once, all workers together; more wait to be accepted
    fast_lane: bool = True  # whether ordinary hits are answered before aiohttp sees them
    access_log: bool = True  # one line for each request
    cache_api: Literal["upstream", "local"] = "upstream"  # who answers /v2/cache
    admin_socket: Path | None = None  # None: admin.sock in the cache's directory
    cache: CacheSettings = CacheSettings()
    metrics: MetricsSettings = MetricsSettings()
    service_user: ServiceUserSettings = ServiceUserSettings()
    signed_urls: SignedUrlSettings = SignedUrlSettings()
    keystone: KeystoneSettings = KeystoneSettings()
    notifications: NotificationSettings = NotificationSettings()
    stores: StoreReadSettings = StoreReadSettings()

    @property
    def signed_urls_directory(self) -> Path:
        """Where the keys of signed URLs are."""
        return self.signed_urls.directory or self.cache.directory / "signed-urls"

    @property
    def keystone_for_tokens(self) -> KeystoneSettings:
        """Where clients' tokens are looked up: where that is told, or where our own come from."""
        if self.keystone.auth_url:
            return self.keystone
        user = self.service_user
        cafile = Path(user.cafile) if user.cafile else None
        return dataclasses.replace(self.keystone, auth_url=user.auth_url, cafile=cafile)
