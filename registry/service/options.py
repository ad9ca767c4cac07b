"""Options of the services, in `[cacheproxy]`: how uploads are watched over; times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oslo_config import cfg

from registry.options import integer


@dataclass(frozen=True, slots=True)
class UploadSettings:
    """How long a silent uploader is taken to be alive, and how often somebody looks."""

    lease_seconds: int = 60
    janitor_seconds: int = 60
    kept_seconds: int = 86_400  # uploads that may be continued, from their beginning


_DEFAULTS = UploadSettings()
UPLOAD_OPTIONS: tuple[cfg.Opt, ...] = (
    integer(
        "upload_lease_seconds",
        _DEFAULTS.lease_seconds,
        "An instance that uploads are running in tells the database that it is alive, three times in so many seconds. When it has not for so long, its uploads are given up, and its jobs, imports among them, are taken over by others.",
        1,
        86_400,
    ),
    integer(
        "janitor_interval_seconds",
        _DEFAULTS.janitor_seconds,
        "How often one of the instances looks for uploads to be given up. What they left is removed from the store, and the images may be uploaded to again.",
        1,
        86_400,
    ),
    integer(
        "upload_kept_seconds",
        _DEFAULTS.kept_seconds,
        "How long an upload that was begun to be continued may take, with all of its pauses. Then what there is of it is removed.",
        1,
        1 << 30,
    ),
)


def read_uploads(group: Any) -> UploadSettings:
    """Take them as oslo.config has read them."""
    return UploadSettings(
        group.upload_lease_seconds, group.janitor_interval_seconds, group.upload_kept_seconds
    )
