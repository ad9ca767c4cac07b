"""The feed of changes, and what has been told in it."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """A feed begins empty."""
    feed = op.create_table(
        "change_feed",
        sa.Column("epoch", sa.String(32), primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(feed, [{"epoch": secrets.token_hex(16), "last": 0}])
    op.create_table(
        "image_changes",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("image_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
    )
