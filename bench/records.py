"""Records of images as clouds have them, by the API and straight into both databases."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

BEGIN = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)
PROJECTS = 200
NEEDLES = 50  # how many images have the value that is asked for
NEEDLE = ("build", "needle")
VISIBILITIES = ("public", "community", "private", "private", "shared", "shared", "shared", "shared")

Row = tuple[Any, ...]


def described(number: int) -> dict[str, Any]:
    """Return what a client says of a new image."""
    return {
        "name": f"image {number}",
        "disk_format": "raw",
        "container_format": "bare",
        "min_disk": 10,
        "min_ram": 512,
        "tags": ["linux", f"series-{number % 10}"],
        **properties(number),
    }


def properties(number: int) -> dict[str, str]:
    """Return an image's properties."""
    return {
        "os_distro": "debian",
        "os_version": str(number % 13),
        "architecture": "x86_64",
        "hw_disk_bus": "virtio",
        "hw_vif_model": "virtio",
        "hypervisor_type": "qemu",
        "build": f"{number:09d}",
        "description": f"an image with everything that number {number} needs",
    }


def image_id(number: int) -> str:
    """Return the id of an image that was put into a database; they are in no order."""
    return str(UUID(int=random.Random(number).getrandbits(128), version=4))


def page_marker(count: int) -> str:
    """Return the id of an image in the middle of a list that everybody sees."""
    middle = count // 2
    return image_id(middle - middle % len(VISIBILITIES))  # public


def rows(count: int, project: str) -> Iterator[tuple[Row, list[Row], list[Row], Row]]:
    """Give so many images with their properties, tags and locations; one in eight is the project's."""
    every = max(1, count // NEEDLES)
    for number in range(count):
        identifier = image_id(number)
        moment = BEGIN + timedelta(seconds=number)
        described_by = properties(number)
        if number % every == 0:  # public
            described_by[NEEDLE[0]] = NEEDLE[1]
        image = (
            *(identifier, f"image {number}", 1 << 30, "active", moment.isoformat(" "), "raw"),
            *(
                "bare",
                f"{number:032x}",
                project if number % 8 == 0 else f"project{number % PROJECTS}",
            ),
            *(10, 512, VISIBILITIES[number % len(VISIBILITIES)], "sha512", f"{number:0128x}"),
        )
        yield (
            image,
            [(identifier, *each) for each in described_by.items()],
            [(identifier, "linux"), (identifier, f"series-{number % 10}")],
            (identifier, f"file:///var/lib/images/{identifier}"),
        )


_IMAGE = (
    "id, name, size, status, created_at, disk_format, container_format, checksum, owner, min_disk,"
    " min_ram, visibility, os_hash_algo, os_hash_value"
)
_MADE = "'2026-06-01 00:00:00.000000'"
_INTO_IMAGES = (
    f"INSERT INTO images ({_IMAGE}, updated_at, protected, os_hidden, deleted)"
    f" VALUES ({', '.join('?' * 14)}, {_MADE}, 0, 0, 0)"
)
_OURS = (
    _INTO_IMAGES,
    "INSERT INTO image_properties (image_id, name, value) VALUES (?, ?, ?)",
    "INSERT INTO image_tags (image_id, value) VALUES (?, ?)",
    "INSERT INTO image_locations (image_id, value, meta_data) VALUES (?, ?, '{}')",
)
_COLUMNS = "created_at, updated_at, deleted"
_VALUES = f"{_MADE}, {_MADE}, 0"
_THEIRS = (
    _INTO_IMAGES,
    f"INSERT INTO image_properties (image_id, name, value, {_COLUMNS}) VALUES (?, ?, ?, {_VALUES})",
    f"INSERT INTO image_tags (image_id, value, {_COLUMNS}) VALUES (?, ?, {_VALUES})",
    f"INSERT INTO image_locations (image_id, value, meta_data, {_COLUMNS}) VALUES (?, ?, '{{}}', {_VALUES})",
)


def fill_ours(database: sqlite3.Connection, count: int, project: str) -> None:
    """Put so many images into our catalog's database."""
    _fill(database, _OURS, rows(count, project))


def fill_theirs(database: sqlite3.Connection, count: int, project: str) -> None:
    """Put the same into Glance's."""
    _fill(database, _THEIRS, rows(count, project))


def _fill(
    database: sqlite3.Connection,
    statements: Sequence[str],
    made: Iterable[tuple[Row, list[Row], list[Row], Row]],
) -> None:
    into_images, into_properties, into_tags, into_locations = statements
    for image, its_properties, tags, location in made:
        database.execute(into_images, image)
        database.executemany(into_properties, its_properties)
        database.executemany(into_tags, tags)
        database.execute(into_locations, location)
    database.execute("ANALYZE")
    database.commit()
