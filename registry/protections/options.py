"""`[DEFAULT] property_protection_…`: where the file of property protections is; names are Glance's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from oslo_config import cfg

from registry.errors import ConfigError

RuleFormat = Literal["roles", "policies"]


@dataclass(frozen=True, slots=True)
class ProtectionSettings:
    """`file` is absolute, or lies beside one of the configuration files."""

    file: str
    rule_format: RuleFormat = "roles"
    beside: tuple[Path, ...] = ()  # the configuration files


PROTECTION_OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "property_protection_file",
        help="A file that says who may make, see, change and remove which custom properties: docs/properties.md. Absolute, or beside this file. Not set: whoever may change the image.",
    ),
    cfg.StrOpt(
        "property_protection_rule_format",
        default="roles",
        choices=("roles", "policies"),
        help="Whether that file names roles, or rules of [oslo_policy] policy_file.",
    ),
)


def read_protections(
    group: Any, files: Sequence[Path], *, rules: bool
) -> ProtectionSettings | None:
    """Take the options as oslo.config has read them from these files; `rules`: there are any."""
    if not group.property_protection_file:
        return None
    if group.property_protection_rule_format == "policies" and not rules:
        raise ConfigError(
            "[DEFAULT] property_protection_rule_format = policies needs [paste_deploy] flavor = keystone"
        )
    return ProtectionSettings(
        file=group.property_protection_file,
        rule_format=group.property_protection_rule_format,
        beside=tuple(files),
    )
