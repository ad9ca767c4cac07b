"""The catalog's options: an operator's glance-api.conf, as it stands, read with oslo.config.

Names and defaults are Glance's, but that nothing listens beyond this machine unless told to (there
may be no authentication) and that the database has a default.  What Glance has no option for is in
`[cacheproxy]`.  Options that we do not know are named once in the log and otherwise ignored; those
whose neglect would do harm are refused.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oslo_config import cfg, types

from backends.configuration import Sections, StoresSettings, known_options, read_stores
from backends.manifest import CHUNK_BYTES
from backends.swift.options import SwiftOptions
from registry.db.options import DATABASE_OPTIONS, DatabaseSettings, read_database
from registry.errors import ConfigError
from registry.fetching.options import FILTER_OPTIONS, WEB_DEFAULTS, FilterSettings, read_filter
from registry.imports.options import IMPORT_SECTIONS, IMPORT_SHARED, ImportSettings, read_imports
from registry.inspection.options import INSPECTION_OPTIONS, InspectionSettings, read_inspection
from registry.keystone.options import KEYSTONE_OPTIONS, KeystoneSettings, read_keystone
from registry.locations import options as locations
from registry.logs import LOG_OPTIONS
from registry.metadefs.arguments import DEFAULT_DIRECTORY
from registry.metadefs.options import METADEF_OPTIONS
from registry.notifications import options as notifications
from registry.options import Commented, integer, truth
from registry.plugins.options import PLUGIN_SECTIONS, PluginSettings, read_plugins
from registry.policy.options import POLICY_OPTIONS, PolicySettings, read_policy
from registry.protections import options as protections
from registry.quotas import options as quotas
from registry.service.options import UPLOAD_OPTIONS, UploadSettings, read_uploads
from registry.signatures.options import CASTELLAN_SECTIONS, KEY_SECTIONS, KeySettings, read_keys
from registry.web import options as web

LOG = logging.getLogger(__name__)

# Glance's, and whether they ask for a token; the cache is the proxies'.
_FLAVORS = {
    **dict.fromkeys(("", "caching", "cachemanagement"), False),
    **dict.fromkeys(("keystone", "keystone+caching", "keystone+cachemanagement"), True),
}


_NO_QUOTAS = quotas.QuotaSettings()


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What operators bound; -1 lifts a quota."""

    image_property_quota: int = 128
    image_tag_quota: int = 128
    image_member_quota: int = 128
    image_location_quota: int = 10
    image_size_cap: int = 1 << 40  # bytes
    limit_param_default: int = 25  # images on a page
    api_limit_max: int = 1000


@dataclass(frozen=True, slots=True)
class FormatSettings:
    """`[image_format]`: which formats images may have."""

    container: tuple[str, ...] = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
    disk: tuple[str, ...] = (
        *("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"),
    )


@dataclass(frozen=True, slots=True)
class Authentication:
    """How callers are known, and what they may do."""

    keystone: KeystoneSettings
    policy: PolicySettings


_INSPECTION = InspectionSettings()
_KEYS = KeySettings()
_PLUGINS = PluginSettings()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything, validated."""

    database: DatabaseSettings
    host: str = "127.0.0.1"
    port: int = 9292
    public_endpoint: str | None = None
    hash_algorithm: str = "sha512"
    manifest_chunk_bytes: int = 1 << 20  # of images to come
    verify_downloads: bool = False
    show_direct_url: bool = False
    show_locations: bool = False
    metadefs_path: Path = Path(DEFAULT_DIRECTORY)
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None  # None: no metrics
    limits: LimitSettings = LimitSettings()
    formats: FormatSettings = FormatSettings()
    background: locations.BackgroundSettings = locations.BACKGROUND_DEFAULTS
    front: web.WebSettings = web.WEB_UNTOLD  # what stands before the paths
    web: FilterSettings = WEB_DEFAULTS  # what may be read from the web for callers
    inspection: InspectionSettings = _INSPECTION
    keys: KeySettings = _KEYS
    plugins: PluginSettings = _PLUGINS
    authentication: Authentication | None = None  # None: everybody may do everything
    quotas: quotas.QuotaSettings = _NO_QUOTAS
    notifications: notifications.NotificationSettings | None = None  # None: nobody is told
    protections: protections.ProtectionSettings | None = None  # None: whoever may change an image
    uploads: UploadSettings = field(default_factory=UploadSettings)
    imports: ImportSettings = field(default_factory=ImportSettings)
    drain_notice_seconds: float = 5.0  # that a stop is told to balancers before it begins
    drain_seconds: float = 30.0  # how long a stop waits for requests in progress


_DAY_SECONDS = 86_400
_LIMITS = LimitSettings()
_FORMATS = FormatSettings()
OPTIONS: dict[str, tuple[cfg.Opt, ...]] = {
    "DEFAULT": (
        cfg.StrOpt(
            "bind_host",
            default="127.0.0.1",
            help="Address on which the catalog answers. Glance's default is 0.0.0.0; here others must be let in by hand, as there may be no authentication.",
        ),
        integer("bind_port", 9292, "Port on which the catalog answers.", 0, 65535),
        cfg.StrOpt(
            "public_endpoint",
            help="The base URL that the list of versions names. Not set: the one that was asked.",
        ),
        cfg.StrOpt(
            "hashing_algorithm",
            default="sha512",
            help="What os_hash_value of images to come is computed with.",
        ),
        integer(
            "image_property_quota",
            _LIMITS.image_property_quota,
            "Properties that an image may have; -1 for any number.",
        ),
        integer(
            "image_tag_quota",
            _LIMITS.image_tag_quota,
            "Tags that an image may have; -1 for any number.",
        ),
        integer(
            "image_member_quota",
            _LIMITS.image_member_quota,
            "Projects that an image may be shared with; -1 for any number.",
        ),
        integer(
            "image_location_quota",
            _LIMITS.image_location_quota,
            "Places that an image's data may be noted to be in; -1 for any number.",
        ),
        integer("image_size_cap", _LIMITS.image_size_cap, "Bytes that an image may have.", 1),
        integer(
            "limit_param_default",
            _LIMITS.limit_param_default,
            "Images on a page of a list, where the request does not say.",
            1,
        ),
        integer(
            "api_limit_max",
            _LIMITS.api_limit_max,
            "Images on a page of a list, whatever the request says.",
            1,
        ),
        truth(
            "show_image_direct_url",
            "Show in an image's direct_url where its data is in the store, without credentials.",
        ),
        truth(
            "show_multiple_locations",
            "Show in an image's locations every place where its data is, without credentials.",
        ),
        *notifications.NOTIFIER_OPTIONS,
        *quotas.QUOTA_OPTIONS,
        *protections.PROTECTION_OPTIONS,
        *IMPORT_SHARED["DEFAULT"],
        *METADEF_OPTIONS,
        cfg.StrOpt(
            "enabled_backends",
            help="Several stores, as NAME:KIND with commas: the options of each are in the section of its name, and options for all of them in [backend_defaults]. See docs/stores.md.",
        ),
        *locations.BACKGROUND_OPTIONS,
        *LOG_OPTIONS,
    ),
    "database": DATABASE_OPTIONS,
    "glance_store": (
        cfg.StrOpt(
            "stores",
            default="file,http",
            help="Without enabled_backends: the kinds of stores, one of each. Their options follow in this section: docs/stores.md.",
        ),
        cfg.StrOpt(
            "default_store",
            default="file",
            help="Without enabled_backends: where uploads go; one of stores.",
        ),
        cfg.StrOpt(
            "default_backend",
            help="With enabled_backends: where uploads go that name no store; one of them.",
        ),
        cfg.StrOpt(
            "filesystem_store_datadir",
            help="Directory of the file store; /var/lib/glance/images where neither this nor filesystem_store_datadirs is set.",
        ),
        cfg.MultiStrOpt(
            "filesystem_store_datadirs",
            help="Instead, several directories, one a line: path or path:priority; new images go to the highest priority that has room.",
        ),
    ),
    "cacheproxy": (
        integer(
            "manifest_chunk_bytes",
            1 << 20,
            "Chunk size of the manifests of images to come: 262144, 1048576 or 4194304.",
        ),
        truth(
            "verify_downloads",
            "Hold every chunk that is read from a store against the image's manifest, if it has one, before it is sent; where it is wrong, the next location is read. The proxies do so themselves.",
        ),
        cfg.StrOpt(
            "metrics_host",
            default="127.0.0.1",
            help="Address on which the stores' figures are told to Prometheus, under /metrics.",
        ),
        cfg.Opt(
            "metrics_port",
            type=Commented(types.Integer(0, 65535)),
            help="Port of that address. Not set: no figures are told.",
        ),
        integer(
            "drain_notice_seconds",
            5,
            "When the service is stopped, GET /healthcheck answers 503 for so many seconds while all requests are still taken, so that a balancer sends them elsewhere before connections are refused: as long as it needs to see that, and a little more. Only where /healthcheck was asked in the minute before. See docs/high-availability.md.",
            0,
            _DAY_SECONDS,
        ),
        integer(
            "drain_seconds",
            30,
            "Seconds that requests in progress then have to end by themselves, uploads and downloads among them; those that do not are reset.",
            0,
            _DAY_SECONDS,
        ),
        *UPLOAD_OPTIONS,
        *locations.MANIFEST_OPTIONS,
        *IMPORT_SHARED["cacheproxy"],
    ),
    "paste_deploy": (
        cfg.StrOpt(
            "flavor",
            default="",
            help="keystone: callers need a token, see [keystone_authtoken]. Left out: everybody may do everything. With +caching or +cachemanagement it means the same, for the cache is the proxies'.",
        ),
    ),
    "keystone_authtoken": KEYSTONE_OPTIONS,
    "oslo_policy": POLICY_OPTIONS,
    "import_filtering_opts": FILTER_OPTIONS,
    **IMPORT_SECTIONS,
    "oslo_limit": quotas.OSLO_LIMIT_OPTIONS,
    **PLUGIN_SECTIONS,
    **KEY_SECTIONS,
    **web.WEB_SECTIONS,
    "oslo_messaging_notifications": notifications.NOTIFICATION_OPTIONS,
    "image_format": (
        cfg.ListOpt(
            "container_formats",
            default=list(_FORMATS.container),
            help="What container_format may be.",
        ),
        cfg.ListOpt("disk_formats", default=list(_FORMATS.disk), help="What disk_format may be."),
        *INSPECTION_OPTIONS,
    ),
}


def load_settings(files: Sequence[Path]) -> Settings:
    """Read configuration files, the later over the earlier; `ConfigError` says what to change.

    The stores are not among it: `load_stores`.
    """
    conf = cfg.ConfigOpts()
    for group, options in OPTIONS.items():
        conf.register_opts(options, group=None if group == "DEFAULT" else group)
    try:
        conf(
            args=[],
            project="cacheproxy-registry",
            default_config_files=[str(file) for file in files],
            default_config_dirs=[],
        )
        _name_unknown(_sections(files))
        return _settings(conf, files)
    except (cfg.Error, ValueError) as error:
        raise ConfigError(" ".join(str(error).split())) from None


def load_stores(files: Sequence[Path]) -> StoresSettings:
    """Read which stores the files configure; `ConfigError` says what to change."""
    try:
        stores = read_stores(_sections(files))
    except (cfg.Error, ValueError) as error:
        raise ConfigError(" ".join(str(error).split())) from None
    for store in stores.stores:
        if isinstance(store.options, SwiftOptions) and store.options.multi_tenant:
            section = store.name if stores.several else "glance_store"
            raise ConfigError(
                f"[{section}] swift_store_multi_tenant: its images are read and written with the "
                "caller's token, which is not available yet; use an account, or leave the store out"
            )
    return stores


def _sections(files: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
    """Return what the files say, the values of later files behind those of earlier ones."""
    sections: dict[str, dict[str, list[str]]] = {}
    for file in files:
        cfg.ConfigParser(str(file), sections).parse()
    return sections


def _settings(conf: Any, files: Sequence[Path]) -> Settings:
    algorithm = conf.hashing_algorithm.lower()
    if algorithm not in hashlib.algorithms_available or algorithm.startswith("shake"):
        raise ConfigError(f"[DEFAULT] hashing_algorithm: {algorithm} is not known to Python here")
    authentication = _authentication(conf, files)
    return Settings(
        host=conf.bind_host,
        port=conf.bind_port,
        public_endpoint=conf.public_endpoint,
        database=read_database(conf.database),
        hash_algorithm=algorithm,
        manifest_chunk_bytes=_chunk_bytes(conf.cacheproxy.manifest_chunk_bytes),
        verify_downloads=conf.cacheproxy.verify_downloads,
        drain_notice_seconds=conf.cacheproxy.drain_notice_seconds,
        drain_seconds=conf.cacheproxy.drain_seconds,
        show_direct_url=conf.show_image_direct_url,
        show_locations=conf.show_multiple_locations,
        metadefs_path=Path(conf.metadata_source_path),
        metrics_host=conf.cacheproxy.metrics_host,
        metrics_port=conf.cacheproxy.metrics_port,
        limits=LimitSettings(
            image_property_quota=conf.image_property_quota,
            image_tag_quota=conf.image_tag_quota,
            image_member_quota=conf.image_member_quota,
            image_location_quota=conf.image_location_quota,
            image_size_cap=conf.image_size_cap,
            limit_param_default=conf.limit_param_default,
            api_limit_max=conf.api_limit_max,
        ),
        formats=FormatSettings(
            container=tuple(conf.image_format.container_formats),
            disk=tuple(conf.image_format.disk_formats),
        ),
        background=locations.read_background(conf),
        front=web.read_web(conf),
        web=read_filter(conf.import_filtering_opts),
        authentication=authentication,
        quotas=quotas.read_quotas(conf),
        notifications=notifications.read_notifications(conf, files),
        protections=protections.read_protections(conf, files, rules=authentication is not None),
        inspection=read_inspection(conf.image_format),
        keys=read_keys(files),
        plugins=read_plugins(conf),
        uploads=read_uploads(conf.cacheproxy),
        imports=read_imports(conf),
    )


def _authentication(conf: Any, files: Sequence[Path]) -> Authentication | None:
    flavor = conf.paste_deploy.flavor
    if flavor not in _FLAVORS:
        raise ConfigError(
            f"[paste_deploy] flavor = {flavor} is not one of {', '.join(filter(None, _FLAVORS))}"
        )
    if not _FLAVORS[flavor]:
        return None
    return Authentication(
        read_keystone(conf.keystone_authtoken), read_policy(conf.oslo_policy, files)
    )


def _chunk_bytes(size: int) -> int:
    if size not in CHUNK_BYTES:
        raise ConfigError(f"[cacheproxy] manifest_chunk_bytes = {size} is not one of {CHUNK_BYTES}")
    return size


def _name_unknown(sections: Sections) -> None:
    stores = known_options(sections)
    shown = []
    for section, values in sections.items():
        if section in CASTELLAN_SECTIONS:
            continue  # castellan has more options than are ours to know
        options = OPTIONS.get(section, ())
        known = {option.name for option in options} | stores.get(section.lower(), frozenset())
        known |= {str(old.name) for option in options for old in option.deprecated_opts}
        names = sorted(values.keys() - known)
        if names and not section.startswith(notifications.DRIVERS_SECTIONS):
            shown.append(f"[{section}] {', '.join(names)}")
    if shown:
        LOG.info("options that this program does not know are ignored: %s", "; ".join(shown))
