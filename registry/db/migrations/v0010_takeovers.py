"""Which images were taken over from a Glance, and what it told of them."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import text
from registry.db.migrating import create_table

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """No image was."""
    create_table(
        "image_takeovers",
        sa.Column("image_id", text(36), sa.ForeignKey("images.id"), primary_key=True),
        sa.Column("told", text(64), nullable=False),
        sa.Column("kept", text(64), nullable=False),
    )
