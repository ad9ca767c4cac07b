"""`[image_format]`: what is looked for in the data of images; names and defaults are Glance's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oslo_config import cfg

from registry.options import truth


@dataclass(frozen=True, slots=True)
class InspectionSettings:
    """How strict the catalog is with the data of images whose container format is bare."""

    require_image_format_match: bool = True
    gpt_safety_checks_nonfatal: frozenset[str] = frozenset()
    vmdk_allowed_types: frozenset[str] = frozenset({"streamOptimized", "monolithicSparse"})


_DEFAULTS = InspectionSettings()
INSPECTION_OPTIONS: tuple[cfg.Opt, ...] = (
    truth(
        "require_image_format_match",
        "Refuse data (415) that is of another format than the image's disk_format. What is dangerous, as a qcow2 with a backing file, is refused in any case. Only data in container format bare is looked at.",
        default=_DEFAULTS.require_image_format_match,
    ),
    cfg.ListOpt(
        "gpt_safety_checks_nonfatal",
        default=sorted(_DEFAULTS.gpt_safety_checks_nonfatal),
        help="Checks of a disk with partitions that only warn: mbr lets partition tables pass that are not by the book.",
    ),
    cfg.ListOpt(
        "vmdk_allowed_types",
        default=sorted(_DEFAULTS.vmdk_allowed_types),
        help="Kinds (createType) of VMDK that an import converts. None of these should name other files.",
    ),
)


def read_inspection(group: Any) -> InspectionSettings:
    """Take the section as oslo.config has read it."""
    return InspectionSettings(
        group.require_image_format_match,
        frozenset(group.gpt_safety_checks_nonfatal),
        frozenset(group.vmdk_allowed_types),
    )
