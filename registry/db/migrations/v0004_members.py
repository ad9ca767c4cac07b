"""The projects that images are shared with."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import moment, text
from registry.db.migrating import create_index, create_table

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Images that are there are shared with nobody."""
    create_table(
        "image_members",
        sa.Column("image_id", text(36), sa.ForeignKey("images.id"), primary_key=True),
        sa.Column("member", text(255), primary_key=True),
        sa.Column("status", text(20), nullable=False),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("updated_at", moment(), nullable=False),
    )
    create_index("ix_image_members_member", "image_members", ["member"])
