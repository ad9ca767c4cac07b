"""The migrations of releases that do not exist yet, beside those that do."""

from __future__ import annotations

import shutil
from pathlib import Path

from registry.db import migrations

# Every step that a migration may have, on tables with rows.
ADDS = """
import sqlalchemy as sa

from registry.db.columns import text
from registry.db.migrating import (
    add_column,
    create_index,
    create_order_index,
    create_table,
    create_text_index,
    fill,
)

revision = "9001"
down_revision = "{newest}"


def upgrade():
    add_column("images", sa.Column("later", text(64)))
    add_column("images", sa.Column("counted", sa.BigInteger, nullable=False, server_default="7"))
    table = create_table(
        "image_laters",
        sa.Column("image_id", text(36), sa.ForeignKey("images.id"), primary_key=True),
    )
    fill(table, [{{"image_id": "old 0"}}, {{"image_id": "old 1"}}])
    create_index("ix_images_later", "images", ["later", "created_at"])
    create_text_index("ix_image_properties_later", "image_properties", ["image_id"], "value")
    create_order_index("ix_images_ordered", "images", ["deleted"], "later", ["id"])
"""
TAKES_AWAY = """
from registry.db.migrating import require_program

revision = "9002"
down_revision = "9001"


def upgrade():
    require_program("9001")
"""


def later_release(directory: Path, *texts: str) -> Path:
    """Write today's migrations and these after them below `directory`; return where they are."""
    made = directory / f"migrations{len(texts)}"
    today = Path(migrations.__file__).parent
    shutil.copytree(today, made, ignore=shutil.ignore_patterns("__pycache__"))
    newest = max(file.name[1:5] for file in today.glob("v*.py"))
    for text in texts:
        written = text.format(newest=newest)
        revision = written.partition('revision = "')[2][:4]
        (made / f"v{revision}_later.py").write_text(written)
    return made
