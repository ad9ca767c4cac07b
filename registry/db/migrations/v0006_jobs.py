"""Durable jobs."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import long_text, moment, text
from registry.db.migrating import create_index, create_table

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """There are no jobs yet."""
    create_table(
        "jobs",
        sa.Column("id", text(36), primary_key=True),
        sa.Column("kind", text(32), nullable=False),
        sa.Column("image_id", text(36)),
        sa.Column("arguments", sa.JSON, nullable=False),
        sa.Column("host", text(255)),
        sa.Column("due_at", moment()),
        sa.Column("claims", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", long_text()),
        sa.Column("given_up_at", moment()),
    )
    create_index("ix_jobs_due_at", "jobs", ["due_at"])
    create_index("ix_jobs_image_id", "jobs", ["image_id"])
    create_index("ix_jobs_given_up_at", "jobs", ["given_up_at"])
