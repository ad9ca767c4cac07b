"""Manifests of images: the name on the record, and the pages of digests."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import octets, text
from registry.db.migrating import add_column, create_index, create_table

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Images that are there have no manifest."""
    add_column("images", sa.Column("os_manifest", text(80)))
    create_index("ix_images_os_manifest", "images", ["os_manifest"])
    create_table(
        "image_manifest_pages",
        sa.Column("image_id", text(36), sa.ForeignKey("images.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", octets(32), nullable=False),
        sa.Column("chunk_digests", octets(32 << 10), nullable=False),
    )
