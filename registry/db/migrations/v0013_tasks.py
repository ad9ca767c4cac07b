"""Tasks."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import long_text, moment, text
from registry.db.migrating import create_index, create_table

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """There are no tasks yet."""
    create_table(
        "tasks",
        sa.Column("id", text(36), primary_key=True),
        sa.Column("type", text(30), nullable=False),
        sa.Column("status", text(30), nullable=False),
        sa.Column("owner", text(255)),
        sa.Column("input", sa.JSON),
        sa.Column("result", sa.JSON),
        sa.Column("message", long_text(), nullable=False),
        sa.Column("image_id", text(36)),
        sa.Column("user_id", text(64)),
        sa.Column("request_id", text(64)),
        sa.Column("expires_at", moment()),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("updated_at", moment(), nullable=False),
    )
    create_index("ix_tasks_created_at", "tasks", ["created_at", "id"])
    create_index("ix_tasks_image_id", "tasks", ["image_id"])
    create_index("ix_tasks_expires_at", "tasks", ["expires_at"])
