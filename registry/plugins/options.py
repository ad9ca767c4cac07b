"""What is done to images on their way through an import; names and defaults are Glance's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oslo_config import cfg, types

from registry.errors import ConfigError

PLUGINS = ("no_op", "inject_image_metadata", "image_decompression", "image_conversion")
FORMATS = ("qcow2", "raw", "vmdk")


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """Which plugins there are, in the order in which they work, and what they do."""

    plugins: tuple[str, ...] = ()
    inject: Mapping[str, str] = field(default_factory=dict)
    ignore_user_roles: frozenset[str] = frozenset({"admin"})
    output_format: str = "raw"


_DEFAULTS = PluginSettings()
PLUGIN_SECTIONS: dict[str, tuple[cfg.Opt, ...]] = {
    "image_import_opts": (
        cfg.ListOpt(
            "image_import_plugins",
            default=[],
            item_type=types.String(quotes=True),
            bounds=True,
            help=f"What is done to images that are imported (not copied), in this order, in brackets: of {', '.join(PLUGINS)}. See docs/image-data.md.",
        ),
    ),
    "inject_metadata_properties": (
        cfg.DictOpt(
            "inject",
            default={},
            help="Properties that inject_image_metadata gives to images, as name:value with commas.",
        ),
        cfg.ListOpt(
            "ignore_user_roles",
            default=sorted(_DEFAULTS.ignore_user_roles),
            help="Roles of callers whose images are not given any.",
        ),
    ),
    "image_conversion": (
        cfg.StrOpt(
            "output_format",
            default=_DEFAULTS.output_format,
            choices=FORMATS,
            help="What image_conversion turns images into, with qemu-img.",
        ),
    ),
}


def read_plugins(conf: Any) -> PluginSettings:
    """Take the sections as oslo.config has read them."""
    plugins = tuple(conf.image_import_opts.image_import_plugins)
    for name in plugins:
        if name not in PLUGINS:
            raise ConfigError(
                f"[image_import_opts] image_import_plugins: {name} is not one of {', '.join(PLUGINS)}"
            )
    injection = conf.inject_metadata_properties
    return PluginSettings(
        plugins,
        dict(injection.inject),
        frozenset(injection.ignore_user_roles),
        conf.image_conversion.output_format,
    )
