"""Uploads that are going on: whose they are, and until when they are taken to be alive."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import text
from registry.db.migrating import create_index, create_table

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Uploads of the release before go on without."""
    create_table(
        "image_uploads",
        sa.Column("image_id", text(36), primary_key=True),
        sa.Column("holder", text(32), nullable=False),
        sa.Column("store", text(255), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    create_index("ix_image_uploads_expires_at", "image_uploads", ["expires_at"])
    create_index("ix_image_uploads_holder", "image_uploads", ["holder"])
