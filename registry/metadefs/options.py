"""Where the files of metadata definitions are; the name is Glance's."""

from __future__ import annotations

from oslo_config import cfg

from registry.metadefs.arguments import DEFAULT_DIRECTORY

METADEF_OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "metadata_source_path",
        default=DEFAULT_DIRECTORY,
        help="The directory (or one file) of metadata definitions that `db load-metadefs` reads and `db export-metadefs` writes, if no --path is given: docs/metadefs.md.",
    ),
)
