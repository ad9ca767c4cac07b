"""`[key_manager]` and `[barbican]`: where certificates of signed images are; castellan's options.

castellan reads the operator's files itself, with more options than are told of here; ours of these
names are for the sample and for a check of the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oslo_config import cfg

from registry.options import truth

CASTELLAN_SECTIONS = frozenset({"key_manager", "barbican", "barbican_service_user", "vault"})


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Where castellan reads which key manager there is."""

    files: tuple[Path, ...] = field(default=(), compare=False)


KEY_SECTIONS: dict[str, tuple[cfg.Opt, ...]] = {
    "key_manager": (
        cfg.StrOpt(
            "backend",
            default="barbican",
            deprecated_name="api_class",
            help="Where certificates of signed images are: barbican or vault, by castellan (pip install cacheproxy[signatures]), whose options for them may be set in [barbican], [barbican_service_user] and [vault].",
        ),
    ),
    "barbican": (
        cfg.StrOpt(
            "auth_endpoint",
            default="http://localhost/identity/v3",
            help="Where Keystone answers; Barbican is asked with a token for the project of the caller's.",
        ),
        cfg.StrOpt(
            "barbican_endpoint",
            help="Where Barbican answers, as http://controller:9311. Not set: as Keystone's catalog says.",
        ),
        cfg.StrOpt(
            "barbican_endpoint_type",
            default="public",
            help="Which of the catalog's endpoints: public, internal or admin.",
        ),
        cfg.StrOpt("barbican_region_name", help="Of which region."),
        truth("verify_ssl", "Whether Barbican's certificate must be good.", default=True),
        cfg.StrOpt(
            "verify_ssl_path", help="The authorities that it may be from. Not set: the system's."
        ),
    ),
}


def read_keys(files: Sequence[Path]) -> KeySettings:
    """Take note of the operator's files."""
    return KeySettings(tuple(files))
