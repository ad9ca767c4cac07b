"""Manifests of images: the name on the record, and the pages of digests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Images that are there have no manifest."""
    op.add_column("images", sa.Column("os_manifest", sa.String(80)))
    op.create_index("ix_images_os_manifest", "images", ["os_manifest"])
    op.create_table(
        "image_manifest_pages",
        sa.Column("image_id", sa.String(36), sa.ForeignKey("images.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("chunk_digests", sa.LargeBinary(32 << 10), nullable=False),
    )
