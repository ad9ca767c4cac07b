"""Versions of images, and indexes by which properties and the latest changes are found."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.migrating import add_column, create_index, create_text_index

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Every image is at its version 0."""
    version = sa.Column("version", sa.BigInteger, nullable=False, server_default="0")
    add_column("images", version)
    create_index(
        "ix_images_deleted_updated_at", "images", ["deleted", "updated_at", "created_at", "id"]
    )
    create_text_index("ix_image_properties_value", "image_properties", ["name"], "value")
