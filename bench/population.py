"""The images of a cloud, as PostgreSQL's COPY takes them: the same for our catalog and for Glance.

Of every 50 images one is the caller's project's; the others are of 200 projects.  2 % are public,
3 % community, 10 % shared with a project, of which one in 20 with the caller's; the rest is private.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from typing import Any

from bench.records import BEGIN, PROJECTS, image_id

OWN = 50  # of so many images one is the caller's project's
NAMES = 20  # images have the same name
NEEDLES = 10  # have the rare property
SERIES = 10  # tags of which each image has one
GIB = 1 << 30
_VISIBILITIES = ("public", "community", "shared", "private")
_SHARES = (2, 3, 10, 85)
_STATUSES = ("active", "queued", "deactivated")
_STATUS_SHARES = (95, 3, 2)
_MADE = "2026-06-01 00:00:00"
_NULL = "\\N"
_COLUMNS = {
    "images": (
        *("id", "name", "status", "visibility", "owner", "protected", "os_hidden", "disk_format"),
        *("container_format", "min_disk", "min_ram", "size", "checksum", "os_hash_algo"),
        *("os_hash_value", "created_at", "updated_at", "deleted"),
    ),
    "image_properties": ("image_id", "name", "value"),
    "image_tags": ("image_id", "value"),
    "image_locations": ("image_id", "value", "meta_data"),
    "image_members": ("image_id", "member", "status", "created_at", "updated_at"),
}
TABLES = tuple(_COLUMNS)
# Columns that a row must have a value for, and indexes that can be made again.
_REQUIRED = """
    SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'
    AND table_name = $1 AND is_nullable = 'NO' AND column_default IS NULL
"""
_INDEXES = """
    SELECT relname, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON oid = indexrelid
    WHERE indrelid::regclass::text = ANY ($1) AND NOT indisunique
"""


@dataclass(frozen=True, slots=True)
class Population:
    """So many images, and a project that asks for them."""

    count: int
    project: str

    def name(self) -> str:
        """Return a name that several images of the project have."""
        return _name(0, self.count)

    def own(self, share: float) -> str:
        """Return the id of one of the project's images, at this share of the way from the oldest."""
        number = int(self.count * share)
        return image_id(number - number % OWN)

    def tables(self) -> dict[str, bytes]:
        """Write all rows down, by table."""
        pick = random.Random(1)
        written: dict[str, list[str]] = {table: [] for table in TABLES}
        for number in range(self.count):
            for table, row in self._rows(number, pick):
                written[table].append("\t".join(map(str, row)))
        return {table: ("\n".join(lines) + "\n").encode() for table, lines in written.items()}

    def _rows(self, number: int, pick: random.Random) -> Iterator[tuple[str, tuple[Any, ...]]]:
        identifier = image_id(number)
        mine = number % OWN == 0
        owner = self.project if mine else f"project{number % PROJECTS}"
        moment = (BEGIN + timedelta(seconds=number)).isoformat(" ")
        (visibility,) = pick.choices(_VISIBILITIES, _SHARES)
        (status,) = pick.choices(_STATUSES, _STATUS_SHARES)
        described: tuple[object, ...] = (_NULL,) * 4
        if status != "queued":
            described = (
                *(pick.randrange(50 * GIB), f"{number:032x}", "sha512", f"{number:0128x}"),
            )
            place = f"file:///var/lib/images/{identifier}"
            yield "image_locations", (identifier, place, "{}")
        yield (
            "images",
            (
                *(identifier, _name(number, self.count), status, visibility, owner, "f", "f"),
                *("raw" if pick.random() < 0.5 else "qcow2", "bare", 10, 512),
                *(*described, moment, moment, "f"),
            ),
        )
        for name, value in self._properties(number, pick).items():
            yield "image_properties", (identifier, name, value)
        for tag in ("linux", f"series-{number // OWN % SERIES}"):
            yield "image_tags", (identifier, tag)
        if visibility == "shared":
            other = f"project{pick.randrange(PROJECTS)}"
            member = other if mine or pick.random() >= 1 / 20 else self.project
            answer = "accepted" if pick.random() < 0.6 else "pending"
            yield "image_members", (identifier, member, answer, moment, moment)

    def _properties(self, number: int, pick: random.Random) -> Mapping[str, str]:
        """Return ten: one that few have, two that half of all have, and what all have."""
        rare = number % (self.count // NEEDLES) == 0
        return {
            "build": "needle" if rare else f"{number:09d}",
            "os_type": pick.choice(("linux", "windows")),
            "hw_firmware_type": pick.choice(("uefi", "bios")),
            "os_distro": "debian",
            "os_version": str(number % 13),
            "architecture": "x86_64",
            "hw_disk_bus": "virtio",
            "hw_vif_model": "virtio",
            "hypervisor_type": "qemu",
            "description": f"an image with everything that number {number} needs",
        }


async def fill(url: str, tables: Mapping[str, bytes]) -> None:
    """Put rows into our tables or Glance's, as the server's administrator, whose URL this is.

    Glance's other columns get what Glance writes into them.
    """
    import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415  not there for `make run`, which fills nothing

    database = await asyncpg.connect(url)
    try:
        await database.execute(
            "SET session_replication_role = replica"
        )  # rows refer to one another
        await database.execute("SET maintenance_work_mem = '256MB'")
        indexes = await database.fetch(_INDEXES, list(tables))
        for name, _ in indexes:
            await database.execute(f"DROP INDEX {name}")
        for table, rows in tables.items():
            missing = [
                (name, f"'{_MADE}'" if name.endswith("_at") else "false")
                for (name,) in await database.fetch(_REQUIRED, table)
                if name not in _COLUMNS[table]
            ]
            for name, value in missing:
                await database.execute(f"ALTER TABLE {table} ALTER {name} SET DEFAULT {value}")
            await database.copy_to_table(table, source=BytesIO(rows), columns=_COLUMNS[table])
            for name, _ in missing:
                await database.execute(f"ALTER TABLE {table} ALTER {name} DROP DEFAULT")
        for _, definition in indexes:
            await database.execute(definition)
        await database.execute(f"VACUUM ANALYZE {', '.join(tables)}")
    finally:
        await database.close()


def _name(number: int, count: int) -> str:
    return f"image-{number % (count // NAMES)}"
