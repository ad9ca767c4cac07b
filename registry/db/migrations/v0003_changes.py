"""The feed of changes, and what has been told in it."""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from registry.db.columns import text
from registry.db.migrating import create_table, fill

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """A feed begins empty."""
    feed = create_table(
        "change_feed",
        sa.Column("epoch", text(32), primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    fill(feed, [{"epoch": secrets.token_hex(16), "last": 0}])
    create_table(
        "image_changes",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("image_id", text(36), nullable=False),
        sa.Column("kind", text(16), nullable=False),
    )
