"""How the databases find jobs among thousands: by an index, whatever is asked."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from harness.plans import analyze, scans_of
from registry.db.database import Database
from registry.db.hashing import count_surveyed, images_without_manifest
from registry.db.jobs import (
    add_recurring_job,
    backlogs,
    claim_job,
    drop_jobs,
    due_jobs,
    end_job,
    forget_jobs,
    give_up_job,
    hurry_jobs,
    is_owed,
    owed_jobs,
    postpone_job,
    renew_job,
    reschedule_job,
)
from registry.db.tables import image_locations, images, jobs
from registry.domain.job import Job

TABLES = ("jobs", "images", "image_locations")
COUNT = 6_000
BATCH = 1_000
BEGIN = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone
KINDS = ("import", "unstage", "clear", "hash", "other")


def job(number: int) -> dict[str, object]:
    """Describe a job: of three two wait, most of them for long, and one was given up."""
    is_given_up = number % 3 == 0
    due_at = BEGIN + timedelta(days=20_000 if number % 50 else 0, seconds=number)
    return {
        "id": f"{number:032x}",
        "kind": KINDS[number % len(KINDS)],
        "image_id": str(UUID(int=number)),
        "arguments": {},
        "due_at": None if is_given_up else due_at,
        "given_up_at": datetime(2090, 1, 1) if is_given_up else None,  # noqa: DTZ001  # as above
        "claims": number % 2,
        "attempts": number % 2,
    }


def image(number: int) -> dict[str, object]:
    """Describe an image: few have no manifest."""
    moment = BEGIN + timedelta(seconds=number)
    flags = {"protected": False, "os_hidden": False, "deleted": False}
    return flags | {
        "id": str(UUID(int=number)),
        "status": "active",
        "visibility": "shared",
        "min_disk": 0,
        "min_ram": 0,
        "size": number,
        "os_manifest": f"m{number}" if number % 100 else None,
        "created_at": moment,
        "updated_at": moment,
    }


def place(number: int) -> dict[str, object]:
    """Describe where an image's data is."""
    return {"image_id": str(UUID(int=number)), "value": f"file:///{number}", "meta_data": {}}


@pytest.fixture
async def filled(database: Database) -> Database:
    async with database.write() as connection:
        for table, row in ((jobs, job), (images, image), (image_locations, place)):
            for start in range(0, COUNT, BATCH):
                rows = [row(number) for number in range(start, start + BATCH)]
                await connection.execute(table.insert(), rows)
    await analyze(database, TABLES)
    return database


async def test_no_question_about_jobs_reads_a_whole_table(filled: Database) -> None:
    """One test for all questions, as filling takes longer than asking."""
    one = Job(f"{100:032x}", "import", None, {}, 1, 1, 60)
    image_id = str(UUID(int=101))
    questions: tuple[tuple[Any, ...], ...] = (
        (due_jobs, dict.fromkeys(KINDS, 10), "host"),
        (claim_job, one, 60.0),
        (renew_job, one),
        (reschedule_job, one.id, 60.0, {}),
        (is_owed, "unstage", image_id),
        (owed_jobs, "unstage", image_id),
        (hurry_jobs, image_id),
        (drop_jobs, "unstage", image_id),
        (add_recurring_job, "recurring", 60.0),
        (add_recurring_job, "recurring", 50.0),
        (forget_jobs, 30.0),
        (count_surveyed,),
        (backlogs, KINDS),
        (images_without_manifest, 1 << 40, 3600.0, 20),
        (partial(postpone_job, attempts=1), one, 60.0),
        (give_up_job, one, "reason"),
        (end_job, one),
    )
    for work, *args in questions:
        scans = await filled.change(scans_of, TABLES, work, *args)
        assert scans == [], work
