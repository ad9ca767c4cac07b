"""The JSON schemas that the catalog publishes and validates with, in Glance's meaning.

Clients build their models from them: base and custom properties are told apart by `is_base`, and
whatever is not named is a custom property, a string.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from registry.domain.image import Visibility
from registry.domain.limits import INTEGER_MAX, NAME_LENGTH_MAX
from registry.domain.member import MemberStatus
from registry.domain.status import Status

Schema: TypeAlias = dict[str, Any]

IMAGE_PATH = "/v2/schemas/image"
IMAGES_PATH = "/v2/schemas/images"
MEMBER_PATH = "/v2/schemas/member"
MEMBERS_PATH = "/v2/schemas/members"
UUID_PATTERN = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"


@dataclass(frozen=True, slots=True)
class Formats:
    """The formats that an operator allows."""

    container: tuple[str, ...]
    disk: tuple[str, ...]


def image_schema(formats: Formats) -> Schema:
    """Return the schema of one image."""
    return {
        "name": "image",
        "properties": {
            **_client_properties(formats),
            **_server_properties(),
            **{name: {**about, "is_base": False} for name, about in _custom_properties().items()},
        },
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def images_schema(formats: Formats) -> Schema:
    """Return the schema of a page of images."""
    return {
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": image_schema(formats)},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def member_schema() -> Schema:
    """Return the schema of one member."""
    return {
        "name": "member",
        "properties": {
            "member_id": _text("The project that the image is shared with"),
            "image_id": _text("The image, a UUID", pattern=UUID_PATTERN),
            "created_at": _text("When the image was shared with the project"),
            "updated_at": _text("When the membership last changed"),
            "status": _text("What the project answered", enum=_words(MemberStatus)),
            "schema": {"type": "string", "readOnly": True},
        },
    }


def members_schema() -> Schema:
    """Return the schema of the members of an image."""
    return {
        "name": "members",
        "properties": {
            "members": {"type": "array", "items": member_schema()},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "describedby", "href": "{schema}"}],
    }


def task_schema() -> Schema:
    """Return the schema of one task."""
    return {"name": "task", "properties": {**_task_summary(), **_task_details()}}


def tasks_schema() -> Schema:
    """Return the schema of a page of tasks, which are told without what is long."""
    return {
        "name": "tasks",
        "properties": {
            "tasks": {
                "type": "array",
                "items": {"name": "task", "properties": _task_summary()},
            },
            "schema": {"type": "string"},
        },
        "links": [{"rel": "describedby", "href": "{schema}"}],
    }


def _task_summary() -> Schema:
    return {
        "id": _text("The task's identifier, a UUID", pattern=UUID_PATTERN),
        "type": _text("What it does", enum=["import", "api_image_import", "location_import"]),
        "status": _text("How far it is", enum=["pending", "processing", "success", "failure"]),
        "owner": _text("The project that began it"),
        "image_id": _text("The image that it is about"),
        "request_id": _text("The request that began it"),
        "user_id": _text("The user who began it"),
        "expires_at": _optional_text("When it is forgotten"),
        "created_at": _text("When it was asked for"),
        "updated_at": _text("When it last changed"),
        "self": {"type": "string", "readOnly": True},
        "schema": {"type": "string", "readOnly": True},
    }


def _task_details() -> Schema:
    return {
        "input": {"type": ["null", "object"], "description": "What it was asked"},
        "result": {"type": ["null", "object"], "description": "What came of it"},
        "message": _text("Why it failed, for people"),
    }


def _words(kind: type[StrEnum]) -> list[str]:
    """Return the members as the words that messages show."""
    return [member.value for member in kind]


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _optional_text(description: str, **more: Any) -> Schema:
    return {"type": ["null", "string"], "description": description, **more}


def _client_properties(formats: Formats) -> Schema:
    """What clients may set."""
    length = {"maxLength": NAME_LENGTH_MAX}
    amount = {"type": "integer", "minimum": 0, "maximum": INTEGER_MAX}
    return {
        "id": _text("The image's identifier, a UUID", pattern=UUID_PATTERN),
        "name": _optional_text("What people call the image", **length),
        "visibility": _text("Who may see the image", enum=_words(Visibility)),
        "protected": {"type": "boolean", "description": "Whether deleting is refused"},
        "os_hidden": {
            "type": "boolean",
            "description": "Whether lists leave the image out unless asked for hidden ones",
        },
        "owner": _optional_text("The project that owns the image", **length),
        "container_format": _optional_text(
            "The container that the disk is in", enum=[None, *formats.container]
        ),
        "disk_format": _optional_text("The format of the disk", enum=[None, *formats.disk]),
        "min_ram": {**amount, "description": "The least memory that it boots with, in MB"},
        "min_disk": {**amount, "description": "The least disk that it boots with, in GB"},
        "tags": {
            "type": "array",
            "items": {"type": "string", **length},
            "description": "Words that belong to the image",
        },
        "locations": {
            "type": "array",
            "items": _location(),
            "description": "Where the image's data is",
        },
    }


def _location() -> Schema:
    return {
        "type": "object",
        "properties": {
            "url": {"type": "string", "maxLength": 255},
            "metadata": {"type": "object"},
            "validation_data": {
                "description": "The checksums of the data; must agree with those already known",
                "type": "object",
                "writeOnly": True,
                "additionalProperties": False,
                "properties": {
                    "checksum": {"type": "string", "minLength": 32, "maxLength": 32},
                    "os_hash_algo": {"type": "string", "maxLength": 64},
                    "os_hash_value": {"type": "string", "maxLength": 128},
                },
                "required": ["os_hash_algo", "os_hash_value"],
            },
        },
        "required": ["url", "metadata"],
    }


def _server_properties() -> Schema:
    """What only the catalog sets."""
    told: Schema = {
        "status": _text("Where the image is in its life", enum=_words(Status)),
        "checksum": _optional_text("The md5 of the data, in hex", maxLength=32),
        "os_hash_algo": _optional_text("The algorithm of os_hash_value", maxLength=64),
        "os_hash_value": _optional_text(
            "The hash of the data by os_hash_algo, in hex", maxLength=128
        ),
        "os_manifest": _optional_text(
            "The manifest of the data: version, bytes of a chunk, digest of its root", maxLength=80
        ),
        "size": {"type": ["null", "integer"], "description": "Bytes of data"},
        "virtual_size": {"type": ["null", "integer"], "description": "Bytes of the virtual disk"},
        "created_at": _text("When the image was registered"),
        "updated_at": _text("When its record last changed"),
        "direct_url": _text("Where the data is in its store"),
        "self": _text("The path of the image"),
        "file": _text("The path of its data"),
        "stores": _text("The stores that hold the data, with commas; only with several stores"),
        "schema": _text("The path of this schema"),
    }
    return {name: {**about, "readOnly": True} for name, about in told.items()}


def _custom_properties() -> Schema:
    """Custom properties that have a common meaning."""
    return {
        "kernel_id": _optional_text("The image of the kernel to boot with", pattern=UUID_PATTERN),
        "ramdisk_id": _optional_text("The image of the ramdisk to boot with", pattern=UUID_PATTERN),
        "instance_uuid": _text("The server that the image was made from; information only"),
        "architecture": _text("The processor architecture, as Nova names it"),
        "os_distro": _text("The distribution's common name"),
        "os_version": _text("The distribution's version"),
        "description": _text("What the image is, for people"),
        "cinder_encryption_key_id": _text("The key of a volume made from the image"),
        "cinder_encryption_key_deletion_policy": _text(
            "What becomes of that key when the image is deleted",
            enum=["on_image_deletion", "do_not_delete"],
        ),
    }
