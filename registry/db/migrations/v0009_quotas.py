"""What is reserved of quotas for data that is on its way."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import text
from registry.db.migrating import create_index, create_table

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Nothing is reserved: uploads of the release before count when they are done."""
    create_table(
        "quota_projects",
        sa.Column("project", text(255), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    create_table(
        "quota_reservations",
        sa.Column("image_id", text(36), primary_key=True),
        sa.Column("resource", text(32), primary_key=True),
        sa.Column("project", text(255), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    create_index("ix_quota_reservations_project", "quota_reservations", ["project"])
