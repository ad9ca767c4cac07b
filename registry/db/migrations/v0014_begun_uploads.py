"""What an upload may have left: the store where it began to write, once its name was free there."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import text
from registry.db.migrating import add_column

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Of those that are going on nobody knows: what they leave stays."""
    add_column("image_uploads", sa.Column("begun", text(255)))
