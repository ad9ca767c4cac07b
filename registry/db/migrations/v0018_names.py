"""An index by which images are found that have a name."""

from __future__ import annotations

from registry.db.migrating import create_index

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Nothing is changed but how fast they are found."""
    create_index("ix_images_name", "images", ["name"])
