"""Uploads that may be continued: how long they are kept, and the parts of them that are stored."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import long_text, text
from registry.db.migrating import add_column, create_index, create_table

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """None of those that are going on may be continued."""
    add_column("image_uploads", sa.Column("kept_until", sa.BigInteger))
    add_column("image_uploads", sa.Column("length", sa.BigInteger))
    create_table(
        "image_upload_parts",
        sa.Column("name", text(255), primary_key=True),
        sa.Column("image_id", text(36), nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("value", long_text()),
    )
    create_index("ix_image_upload_parts_image_id", "image_upload_parts", ["image_id"])
