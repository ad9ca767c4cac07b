"""An index of the order by names, in which people are shown images."""

from __future__ import annotations

from registry.db.migrating import create_order_index

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Nothing is changed but how fast a page is found."""
    create_order_index(
        "ix_images_deleted_name", "images", ["deleted"], "name", ["created_at", "id"]
    )
