"""The tables, as the newest migration leaves them; column names are Glance's where it has them."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

images = sa.Table(
    "images",
    METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("name", sa.String(255)),
    sa.Column("status", sa.String(30), nullable=False),
    sa.Column("visibility", sa.String(9), nullable=False),
    sa.Column("owner", sa.String(255)),
    sa.Column("protected", sa.Boolean, nullable=False),
    sa.Column("os_hidden", sa.Boolean, nullable=False),
    sa.Column("container_format", sa.String(20)),
    sa.Column("disk_format", sa.String(20)),
    sa.Column("min_disk", sa.Integer, nullable=False),
    sa.Column("min_ram", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger),
    sa.Column("virtual_size", sa.BigInteger),
    sa.Column("checksum", sa.String(32)),
    sa.Column("os_hash_algo", sa.String(64)),
    sa.Column("os_hash_value", sa.String(128)),
    sa.Column("os_manifest", sa.String(80)),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("updated_at", sa.DateTime, nullable=False),
    # A deleted image keeps its row, so that its id is never given out again.
    sa.Column("deleted_at", sa.DateTime),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Index("ix_images_deleted_created_at", "deleted", "created_at", "id"),
    sa.Index("ix_images_owner", "owner"),
    sa.Index("ix_images_visibility", "visibility"),
    sa.Index("ix_images_checksum", "checksum"),
    sa.Index("ix_images_os_hash_value", "os_hash_value"),
    sa.Index("ix_images_os_manifest", "os_manifest"),
)

image_properties = sa.Table(
    "image_properties",
    METADATA,
    sa.Column("image_id", sa.String(36), sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("value", sa.Text),
)

image_tags = sa.Table(
    "image_tags",
    METADATA,
    sa.Column("image_id", sa.String(36), sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("value", sa.String(255), primary_key=True),
    sa.Index("ix_image_tags_value", "value"),
)

image_locations = sa.Table(
    "image_locations",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("image_id", sa.String(36), sa.ForeignKey("images.id"), nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("meta_data", sa.JSON, nullable=False),
    sa.Index("ix_image_locations_image_id", "image_id"),
)

image_members = sa.Table(
    "image_members",
    METADATA,
    sa.Column("image_id", sa.String(36), sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("member", sa.String(255), primary_key=True),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("updated_at", sa.DateTime, nullable=False),
    sa.Index("ix_image_members_member", "member"),
)

change_feed = sa.Table(
    "change_feed",  # one row
    METADATA,
    sa.Column("epoch", sa.String(32), primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
)

image_changes = sa.Table(
    "image_changes",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("image_id", sa.String(36), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
)

image_manifest_pages = sa.Table(
    "image_manifest_pages",
    METADATA,
    sa.Column("image_id", sa.String(36), sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("chunk_digests", sa.LargeBinary(32 << 10), nullable=False),
)
