"""Indexes by which it is found who has data in a place, and what is to be deleted there."""

from __future__ import annotations

from registry.db.migrating import create_whole_text_index

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Nothing is changed but how fast they are found."""
    create_whole_text_index("ix_image_locations_value", "image_locations", "value")
    create_whole_text_index("ix_discards_value", "discards", "value")
