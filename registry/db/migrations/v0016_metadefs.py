"""Metadata definitions."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import long_text, moment, text
from registry.db.migrating import create_index, create_table

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """There are none yet."""
    create_table(
        "metadef_namespaces",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("namespace", text(80), nullable=False),
        sa.Column("display_name", text(80)),
        sa.Column("description", long_text()),
        sa.Column("visibility", text(32), nullable=False),
        sa.Column("protected", sa.Boolean, nullable=False),
        sa.Column("owner", text(255)),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("updated_at", moment(), nullable=False),
        sa.UniqueConstraint("namespace", name="uq_metadef_namespaces_namespace"),
    )
    create_index("ix_metadef_namespaces_created_at", "metadef_namespaces", ["created_at", "id"])
    create_index("ix_metadef_namespaces_owner", "metadef_namespaces", ["owner"])
    create_table(
        "metadef_items",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "namespace_id", sa.Integer, sa.ForeignKey("metadef_namespaces.id"), nullable=False
        ),
        sa.Column("kind", text(16), nullable=False),
        sa.Column("name", text(80), nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("updated_at", moment(), nullable=False),
        sa.UniqueConstraint("namespace_id", "kind", "name", name="uq_metadef_items_name"),
    )
    create_index("ix_metadef_items_kind_name", "metadef_items", ["kind", "name"])
    create_table(
        "metadef_resource_types",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", text(80), nullable=False),
        sa.Column("protected", sa.Boolean, nullable=False),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("updated_at", moment(), nullable=False),
        sa.UniqueConstraint("name", name="uq_metadef_resource_types_name"),
    )
