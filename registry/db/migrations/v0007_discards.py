"""Data that is to be deleted in its store, and belongs to no image any more."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import long_text, moment, text
from registry.db.migrating import create_index, create_table

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Nothing is to be deleted."""
    create_table(
        "discards",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("image_id", text(36), nullable=False),
        sa.Column("value", long_text(), nullable=False),
        sa.Column("meta_data", sa.JSON, nullable=False),
        sa.Column("due_at", moment(), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
    )
    create_index("ix_discards_due_at", "discards", ["due_at"])
    create_index("ix_discards_image_id", "discards", ["image_id"])
