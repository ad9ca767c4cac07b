"""What becomes of images' data in the background: hashing what came without hashes, deleting later.

Names and defaults are Glance's; the options of manifests, which Glance does not make, are in
`[cacheproxy]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oslo_config import cfg

from registry.options import integer, truth


@dataclass(frozen=True, slots=True)
class BackgroundSettings:
    """Times in seconds."""

    do_secure_hash: bool = True
    http_retries: int = 3
    delayed_delete: bool = False
    scrub_time: int = 0
    scrub_pool_size: int = 1
    wakeup_time: int = 300
    hashes_at_once: int = 1
    hash_mebibytes: int = 100  # per second and image


BACKGROUND_DEFAULTS = BackgroundSettings()
BACKGROUND_OPTIONS: tuple[cfg.Opt, ...] = (
    truth(
        "do_secure_hash",
        "Compute the hashes of data that is added by its location (POST /v2/images/ID/locations). If false, those that the client tells are noted unseen.",
        default=BACKGROUND_DEFAULTS.do_secure_hash,
    ),
    integer(
        "http_retries",
        BACKGROUND_DEFAULTS.http_retries,
        "How often that is tried again; then an image that waits for it is queued again, without the location.",
        0,
    ),
    truth(
        "delayed_delete",
        "Keep the data of deleted images for scrub_time; meanwhile the image can be restored: cacheproxy-registry scrub --restore ID.",
    ),
    integer(
        "scrub_time",
        BACKGROUND_DEFAULTS.scrub_time,
        "With delayed_delete, for how many seconds data is kept at least.",
        0,
    ),
    integer(
        "scrub_pool_size",
        BACKGROUND_DEFAULTS.scrub_pool_size,
        "How many images' data an instance deletes at the same time in each store, of what was to be deleted later.",
        1,
    ),
    integer(
        "wakeup_time",
        BACKGROUND_DEFAULTS.wakeup_time,
        "Seconds between two looks for such data, by all instances together. What a store refused to delete, or a process that died was to delete, is tried again then; without delayed_delete every janitor_interval_seconds, if that is sooner.",
        1,
    ),
)
MANIFEST_OPTIONS: tuple[cfg.Opt, ...] = (
    integer(
        "hashes_at_once",
        BACKGROUND_DEFAULTS.hashes_at_once,
        "How many images an instance reads at the same time to compute the hashes or the manifest that they came without, beside one for which nobody waits; 0: none, and this is left to other instances.",
        0,
    ),
    integer(
        "hash_mebibytes",
        BACKGROUND_DEFAULTS.hash_mebibytes,
        "How many MiB per second are read of each of them at most; 0: as fast as it goes.",
        0,
    ),
)


def read_background(conf: Any) -> BackgroundSettings:
    """Take the options as oslo.config has read them."""
    names = {option.dest for option in BACKGROUND_OPTIONS}
    ours = {option.dest for option in MANIFEST_OPTIONS}
    return BackgroundSettings(
        **{name: conf[name] for name in names}, **{name: conf.cacheproxy[name] for name in ours}
    )
