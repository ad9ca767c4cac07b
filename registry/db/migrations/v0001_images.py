"""Images with their properties, tags and locations."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import long_text, moment, text
from registry.db.migrating import create_index, create_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables."""
    create_table(
        "images",
        sa.Column("id", text(36), primary_key=True),
        sa.Column("name", text(255)),
        sa.Column("status", text(30), nullable=False),
        sa.Column("visibility", text(9), nullable=False),
        sa.Column("owner", text(255)),
        sa.Column("protected", sa.Boolean, nullable=False),
        sa.Column("os_hidden", sa.Boolean, nullable=False),
        sa.Column("container_format", text(20)),
        sa.Column("disk_format", text(20)),
        sa.Column("min_disk", sa.Integer, nullable=False),
        sa.Column("min_ram", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("virtual_size", sa.BigInteger),
        sa.Column("checksum", text(32)),
        sa.Column("os_hash_algo", text(64)),
        sa.Column("os_hash_value", text(128)),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("updated_at", moment(), nullable=False),
        sa.Column("deleted_at", moment()),
        sa.Column("deleted", sa.Boolean, nullable=False),
    )
    create_index("ix_images_deleted_created_at", "images", ["deleted", "created_at", "id"])
    for column in ("owner", "visibility", "checksum", "os_hash_value"):
        create_index(f"ix_images_{column}", "images", [column])
    create_table(
        "image_properties",
        sa.Column("image_id", text(36), sa.ForeignKey("images.id"), primary_key=True),
        sa.Column("name", text(255), primary_key=True),
        sa.Column("value", long_text()),
    )
    create_table(
        "image_tags",
        sa.Column("image_id", text(36), sa.ForeignKey("images.id"), primary_key=True),
        sa.Column("value", text(255), primary_key=True),
    )
    create_index("ix_image_tags_value", "image_tags", ["value"])
    create_table(
        "image_locations",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("image_id", text(36), sa.ForeignKey("images.id"), nullable=False),
        sa.Column("value", long_text(), nullable=False),
        sa.Column("meta_data", sa.JSON, nullable=False),
    )
    create_index("ix_image_locations_image_id", "image_locations", ["image_id"])
