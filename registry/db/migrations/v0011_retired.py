"""An index by which deleted images are found whose data is still there."""

from __future__ import annotations

from registry.db.migrating import create_index

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Nothing is changed but how fast they are found."""
    create_index("ix_images_status_deleted_at", "images", ["status", "deleted_at"])
