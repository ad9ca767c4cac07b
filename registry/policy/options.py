"""`[oslo_policy]`: where an operator's own rules are; names and defaults are oslo.policy's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg

from registry.options import truth


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """`file` and `directories` are absolute, or lie beside one of the configuration files."""

    file: str = "policy.yaml"
    directories: tuple[str, ...] = ("policy.d",)
    default_rule: str = "default"
    new_defaults: bool = True
    beside: tuple[Path, ...] = ()  # the configuration files


_DEFAULTS = PolicySettings()
POLICY_OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "policy_file",
        default=_DEFAULTS.file,
        help="A file of rules, in YAML or JSON, that count instead of the defaults in docs/policies.md; beside this file. It need not be there. A change is noticed within seconds.",
    ),
    cfg.MultiStrOpt(
        "policy_dirs",
        default=list(_DEFAULTS.directories),
        help="Directories of more such files, one a line, read in the order of their names.",
    ),
    cfg.StrOpt(
        "policy_default_rule",
        default=_DEFAULTS.default_rule,
        help="The rule that counts where a file names one that is nowhere.",
    ),
    truth(
        "enforce_new_defaults",
        "Hold callers to the defaults with roles. Otherwise those before are enough, with which everybody may do everything with the images of their project.",
        default=_DEFAULTS.new_defaults,
    ),
    truth(
        "enforce_scope",
        "Accepted; oslo.policy no longer has it: only tokens for a project are taken.",
        default=True,
    ),
)


def read_policy(group: Any, files: Sequence[Path]) -> PolicySettings:
    """Take the section as oslo.config has read it from these files."""
    return PolicySettings(
        file=group.policy_file,
        directories=tuple(group.policy_dirs),
        default_rule=group.policy_default_rule,
        new_defaults=group.enforce_new_defaults,
        beside=tuple(files),
    )
