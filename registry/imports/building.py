"""Puts together what imports are made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from registry.db.database import Database
from registry.db.tasks import forget_tasks
from registry.domain.limits import Limits
from registry.domain.notices import SILENT, Notifier
from registry.domain.validation import ImageValidator
from registry.fetching.filtering import UriFilter
from registry.imports.glances import OtherGlances
from registry.imports.importing import Importer
from registry.imports.kinds import IMPORT, OF_A_PROJECT, OUTSIDE, OUTSIDE_AT_ONCE
from registry.imports.news import ImportNews
from registry.imports.options import ImportSettings
from registry.imports.records import ImportRecords
from registry.imports.requests import Imports
from registry.imports.sources import Sources
from registry.imports.staging import UNSTAGE, Staging, StagingArea
from registry.imports.tasks import TaskRequests
from registry.plugins.plugins import Plugins
from registry.quotas.quotas import Quotas
from registry.service.checks import Checks
from registry.service.clock import Clock, utc_now
from registry.service.digests import Hashing
from registry.service.discards import Discards
from registry.service.downloads import Downloads
from registry.service.intake import Intake
from registry.service.jobs import Handler, Job, Jobs
from registry.service.leftovers import Leftovers
from registry.service.news import TaskNews
from registry.service.stores import Stores
from registry.service.turns import Turns

FORGET_TASKS = "forget-tasks"  # the kind of a recurring job
FORGET_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What imports share with the rest of the catalog."""

    database: Database
    stores: Stores
    discards: Discards
    downloads: Downloads
    limits: Limits
    hashing: Hashing
    leftovers: Leftovers
    checks: Checks
    uri_filter: UriFilter
    plugins: Plugins
    validator: ImageValidator
    keystone: str | None  # its URL
    quotas: Quotas
    lease_seconds: float  # of who stages data
    notifier: Notifier = SILENT
    clock: Clock = utc_now


class Importing:
    """All of it."""

    def __init__(self, settings: ImportSettings, parts: Parts) -> None:
        self._jobs: Jobs | None = None
        self._database = parts.database
        self._clock = parts.clock
        glances = OtherGlances(parts.keystone, parts.uri_filter, settings.properties)
        news = TaskNews(parts.database, parts.notifier, parts.clock)
        self.area = StagingArea(settings, parts.stores)
        self.staging = Staging(
            *(parts.database, self.area, parts.limits, self._wake),
            lease_seconds=parts.lease_seconds,
            clock=parts.clock,
            quotas=parts.quotas,
            notifier=parts.notifier,
        )
        self.requests = Imports(
            parts.database,
            parts.stores,
            settings,
            parts.uri_filter,
            glances=glances,
            news=news,
            wake=self._wake,
            clock=parts.clock,
            quotas=parts.quotas,
        )
        self.tasks = TaskRequests(
            parts.database,
            parts.uri_filter,
            parts.validator,
            parts.limits,
            news=news,
            task_hours=settings.task_hours,
            wake=self._wake,
            notifier=parts.notifier,
            clock=parts.clock,
        )

        def ended(task_id: str) -> None:
            glances.forget(task_id)
            self._wake()  # what was staged can go

        told = ImportNews(news, parts.notifier)
        sources = Sources(
            parts.database,
            parts.stores,
            area=self.area,
            uri_filter=parts.uri_filter,
            glances=glances,
            downloads=parts.downloads,
            limits=parts.limits,
            plugins=parts.plugins,
        )
        self.importer = Importer(
            ImportRecords(
                parts.database,
                parts.stores,
                parts.discards,
                parts.limits,
                news=told,
                task_hours=settings.task_hours,
                clock=parts.clock,
            ),
            sources,
            parts.stores,
            limits=parts.limits,
            intake=Intake(parts.stores, parts.limits, parts.hashing),
            leftovers=parts.leftovers,
            checks=parts.checks,
            quotas=parts.quotas,
            news=told,
            ended=ended,
        )
        self._outside = Turns(self.importer.work, "project", OF_A_PROJECT)

    def told_to(self, jobs: Jobs) -> None:
        """Tell who looks for jobs of those that are owed from now on."""
        self._jobs = jobs

    def _wake(self) -> None:
        if self._jobs is not None:
            self._jobs.wake()

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """Who does the jobs."""
        return {
            IMPORT: self.importer.work,
            OUTSIDE: self._outside,
            UNSTAGE: self.staging.unstage,
            FORGET_TASKS: self._forget_tasks,
        }

    @property
    def settlers(self) -> Mapping[str, Handler]:
        """Who settles what jobs leave behind that are given up."""
        return {
            IMPORT: self.importer.settle,
            OUTSIDE: self.importer.settle,
            UNSTAGE: self.staging.settle,
        }

    @property
    def limits(self) -> Mapping[str, int]:
        """How many of a kind this instance does at the same time."""
        return {OUTSIDE: OUTSIDE_AT_ONCE}

    async def _forget_tasks(self, _job: Job) -> None:
        await self._database.change(forget_tasks, self._clock())


@asynccontextmanager
async def open_importing(settings: ImportSettings, parts: Parts) -> AsyncIterator[Importing]:
    """Build it, and close its directory behind."""
    importing = Importing(settings, parts)
    try:
        yield importing
    finally:
        await importing.area.aclose()
