"""Which jobs of a kind are due is asked of each kind by itself."""

from __future__ import annotations

from registry.db.migrating import create_index

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """In the order in which they are asked for; no row is changed."""
    create_index("ix_jobs_kind_due_at", "jobs", ["kind", "due_at", "id"])
