"""The tables, as the newest migration leaves them; column names are Glance's where it has them."""

from __future__ import annotations

import sqlalchemy as sa

from registry.db.columns import long_text, moment, octets, text, whole_text_index

METADATA = sa.MetaData()

images = sa.Table(
    "images",
    METADATA,
    sa.Column("id", text(36), primary_key=True),
    sa.Column("name", text(255)),
    sa.Column("status", text(30), nullable=False),
    sa.Column("visibility", text(9), nullable=False),
    sa.Column("owner", text(255)),
    sa.Column("protected", sa.Boolean, nullable=False),
    sa.Column("os_hidden", sa.Boolean, nullable=False),
    sa.Column("container_format", text(20)),
    sa.Column("disk_format", text(20)),
    sa.Column("min_disk", sa.Integer, nullable=False),
    sa.Column("min_ram", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger),
    sa.Column("virtual_size", sa.BigInteger),
    sa.Column("checksum", text(32)),
    sa.Column("os_hash_algo", text(64)),
    sa.Column("os_hash_value", text(128)),
    sa.Column("os_manifest", text(80)),
    sa.Column("created_at", moment(), nullable=False),
    sa.Column("updated_at", moment(), nullable=False),
    # A deleted image keeps its row, so that its id is never given out again.
    sa.Column("deleted_at", moment()),
    sa.Column("deleted", sa.Boolean, nullable=False),
    # Counts the changes of the row and of what belongs to it.
    sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_images_deleted_created_at", "deleted", "created_at", "id"),
    sa.Index("ix_images_deleted_updated_at", "deleted", "updated_at", "created_at", "id"),
    sa.Index("ix_images_status_deleted_at", "status", "deleted_at"),
    sa.Index("ix_images_name", "name"),
    sa.Index("ix_images_owner", "owner"),
    sa.Index("ix_images_visibility", "visibility"),
    sa.Index("ix_images_checksum", "checksum"),
    sa.Index("ix_images_os_hash_value", "os_hash_value"),
    sa.Index("ix_images_os_manifest", "os_manifest"),
    # and ix_images_deleted_name, by name or nothing, created_at and id
)

image_properties = sa.Table(
    "image_properties",
    METADATA,
    sa.Column("image_id", text(36), sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("name", text(255), primary_key=True),
    sa.Column("value", long_text()),
    # and ix_image_properties_value, by name and the beginning of the value
)

image_tags = sa.Table(
    "image_tags",
    METADATA,
    sa.Column("image_id", text(36), sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("value", text(255), primary_key=True),
    sa.Index("ix_image_tags_value", "value"),
)

image_locations = sa.Table(
    "image_locations",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("image_id", text(36), sa.ForeignKey("images.id"), nullable=False),
    sa.Column("value", long_text(), nullable=False),
    sa.Column("meta_data", sa.JSON, nullable=False),
    sa.Index("ix_image_locations_image_id", "image_id"),
    whole_text_index("ix_image_locations_value", "value"),
)

image_members = sa.Table(
    "image_members",
    METADATA,
    sa.Column("image_id", text(36), sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("member", text(255), primary_key=True),
    sa.Column("status", text(20), nullable=False),
    sa.Column("created_at", moment(), nullable=False),
    sa.Column("updated_at", moment(), nullable=False),
    sa.Index("ix_image_members_member", "member"),
)

change_feed = sa.Table(
    "change_feed",  # one row
    METADATA,
    sa.Column("epoch", text(32), primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
)

image_changes = sa.Table(
    "image_changes",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("image_id", text(36), nullable=False),
    sa.Column("kind", text(16), nullable=False),
)

image_manifest_pages = sa.Table(
    "image_manifest_pages",
    METADATA,
    sa.Column("image_id", text(36), sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", octets(32), nullable=False),
    sa.Column("chunk_digests", octets(32 << 10), nullable=False),
)

image_takeovers = sa.Table(
    "image_takeovers",
    METADATA,
    sa.Column("image_id", text(36), sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("told", text(64), nullable=False),
    sa.Column("kept", text(64), nullable=False),
)

jobs = sa.Table(
    "jobs",
    METADATA,
    sa.Column("id", text(36), primary_key=True),  # in the order in which they were added
    sa.Column("kind", text(32), nullable=False),
    sa.Column("image_id", text(36)),  # the image may be gone
    sa.Column("arguments", sa.JSON, nullable=False),
    sa.Column("host", text(255)),  # the only one that can do it; null: any
    # When it may be claimed: while somebody does it, when that one's lease runs out; null: never.
    sa.Column("due_at", moment()),
    sa.Column("claims", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("reason", long_text()),  # of the last failure
    sa.Column("given_up_at", moment()),
    sa.Index("ix_jobs_due_at", "due_at"),
    sa.Index("ix_jobs_kind_due_at", "kind", "due_at", "id"),
    sa.Index("ix_jobs_image_id", "image_id"),
    sa.Index("ix_jobs_given_up_at", "given_up_at"),
)

# Data that no image has any more, and that is still to be deleted in its store.
discards = sa.Table(
    "discards",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("image_id", text(36), nullable=False),  # which had it; it may be purged
    sa.Column("value", long_text(), nullable=False),
    sa.Column("meta_data", sa.JSON, nullable=False),
    sa.Column("due_at", moment(), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Index("ix_discards_due_at", "due_at"),
    sa.Index("ix_discards_image_id", "image_id"),
    whole_text_index("ix_discards_value", "value"),
)

image_uploads = sa.Table(
    "image_uploads",  # those that are going on
    METADATA,
    # No foreign key: what an upload has left is known also when its image was purged.
    sa.Column("image_id", text(36), primary_key=True),
    sa.Column("holder", text(32), nullable=False),
    sa.Column("store", text(255), nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),  # seconds of the database's own clock
    # Of one that may be continued: until when, and the bytes that it is to have, if that is known.
    sa.Column("kept_until", sa.BigInteger),
    sa.Column("length", sa.BigInteger),
    # The store that may hold something of it: its name was free there, and then it was begun.
    sa.Column("begun", text(255)),
    sa.Index("ix_image_uploads_expires_at", "expires_at"),
    sa.Index("ix_image_uploads_holder", "holder"),
)

quota_projects = sa.Table(
    "quota_projects",  # whoever adds to what a project uses changes its row first
    METADATA,
    sa.Column("project", text(255), primary_key=True),  # empty: images without an owner
    sa.Column("version", sa.BigInteger, nullable=False),
)

quota_reservations = sa.Table(
    "quota_reservations",  # room for data that is on its way
    METADATA,
    sa.Column("image_id", text(36), primary_key=True),
    sa.Column("resource", text(32), primary_key=True),
    sa.Column("project", text(255), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Index("ix_quota_reservations_project", "project"),
)

image_upload_parts = sa.Table(
    "image_upload_parts",
    METADATA,
    sa.Column("name", text(255), primary_key=True),  # of the object in the upload's store
    sa.Column("image_id", text(36), nullable=False),
    sa.Column("start", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger),  # null: it is not complete
    sa.Column("value", long_text()),  # where it is, then
    sa.Index("ix_image_upload_parts_image_id", "image_id"),
)

tasks = sa.Table(
    "tasks",
    METADATA,
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
    sa.Index("ix_tasks_created_at", "created_at", "id"),
    sa.Index("ix_tasks_image_id", "image_id"),
    sa.Index("ix_tasks_expires_at", "expires_at"),
)

metadef_namespaces = sa.Table(
    "metadef_namespaces",
    METADATA,
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
    sa.Index("ix_metadef_namespaces_created_at", "created_at", "id"),
    sa.Index("ix_metadef_namespaces_owner", "owner"),
)

# Objects, properties, tags and associations of resource types, which are four tables of Glance's.
metadef_items = sa.Table(
    "metadef_items",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("namespace_id", sa.Integer, sa.ForeignKey("metadef_namespaces.id"), nullable=False),
    sa.Column("kind", text(16), nullable=False),
    sa.Column("name", text(80), nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Column("created_at", moment(), nullable=False),
    sa.Column("updated_at", moment(), nullable=False),
    sa.UniqueConstraint("namespace_id", "kind", "name", name="uq_metadef_items_name"),
    sa.Index("ix_metadef_items_kind_name", "kind", "name"),
)

metadef_resource_types = sa.Table(
    "metadef_resource_types",  # every one that a namespace was associated with
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", text(80), nullable=False),
    sa.Column("protected", sa.Boolean, nullable=False),
    sa.Column("created_at", moment(), nullable=False),
    sa.Column("updated_at", moment(), nullable=False),
    sa.UniqueConstraint("name", name="uq_metadef_resource_types_name"),
)
