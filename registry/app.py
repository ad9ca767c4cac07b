"""Puts the catalog together and runs it: the one place where its objects are built."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import Any

from aiohttp import web

from backends.configuration import StoresSettings
from backends.notify import Notify
from backends.openstores import OpenStores
from registry.background import build_background
from registry.config import Settings
from registry.directories import prepare_directories
from registry.domain.limits import Limits
from registry.domain.schemas import Formats, image_schema
from registry.domain.validation import ImageValidator
from registry.errors import ConfigError
from registry.fetching.filtering import UriFilter
from registry.fetching.guarding import guard_of
from registry.imports.building import FORGET_SECONDS, FORGET_TASKS, Parts, open_importing
from registry.metrics import StoreMetrics
from registry.notifications.opening import open_notifier
from registry.orphans import Orphans
from registry.plugins.plugins import Plugins
from registry.protections.protections import load_protections
from registry.quotas.opening import open_quotas
from registry.service.athand import AtHand
from registry.service.changes import ChangeFeed
from registry.service.checks import Checks
from registry.service.content import ContentSearch
from registry.service.copies import Copies
from registry.service.digests import Hashing
from registry.service.downloads import Downloads
from registry.service.images import Images
from registry.service.janitor import JANITOR, Janitor
from registry.service.jobs import Jobs, pace_of
from registry.service.leases import Leases
from registry.service.leftovers import CLEAR, OF_A_STORE, Leftovers
from registry.service.locating import Locating
from registry.service.locations import Locations
from registry.service.manifests import Manifests
from registry.service.members import Members
from registry.service.metadef_items import MetadefItems
from registry.service.metadefs import Metadefs
from registry.service.places import Places
from registry.service.readiness import Readiness
from registry.service.records import Records
from registry.service.resumable import ResumableUploads
from registry.service.storeinfo import StoreInfo
from registry.service.stores import Stores
from registry.service.tasks import Tasks
from registry.service.turns import Turns
from registry.service.uploads import Uploads
from registry.signatures.keys import Keys
from registry.upkeep import opened_database
from registry.web.access_log import AccessLog
from registry.web.changes import ChangeHandlers
from registry.web.content import ContentHandlers
from registry.web.discovery import DiscoveryHandlers
from registry.web.fast_lane import FastLane
from registry.web.health import HealthHandlers
from registry.web.identity import Identify, Recognise, anybody, everybody, held_to, known_to
from registry.web.image_data import ImageDataHandlers
from registry.web.images import ImageHandlers
from registry.web.imports import ImportHandlers
from registry.web.incoming import received
from registry.web.lane import Fast, Lane
from registry.web.locations import LocationHandlers
from registry.web.manifests import ManifestHandlers
from registry.web.members import MemberHandlers
from registry.web.metadefs import MetadefItemHandlers, NamespaceHandlers
from registry.web.metrics import metrics_application
from registry.web.progress import Progress
from registry.web.resumable import ResumableHandlers
from registry.web.routes import Handlers, build_application
from registry.web.stores import StoreHandlers
from registry.web.tasks import TaskHandlers
from registry.web.usage import UsageHandlers

LOG = logging.getLogger(__name__)

RECEIVE_BYTES = 1 << 20  # received and not yet read, per connection (aiohttp lets it double)
HEADER_BYTES_MAX = 64 << 10  # one header line: Keystone's tokens and long filters fit
FLUSH_SECONDS = 2.0  # for what has been answered to leave, and requests that were cut to notice
UNWIND_SECONDS = 30.0  # for a request that was cut to undo what it began
CLOSE_SECONDS = 60.0  # for jobs to be given back to a database that hangs


@asynccontextmanager
async def open_application(
    settings: Settings,
    configured: StoresSettings,
    metrics: StoreMetrics,
    progress: Progress,
    stop: Callable[[], None],
) -> AsyncIterator[tuple[web.Application, Fast, HealthHandlers]]:
    """Build the application on a database that is up to date, and close it all behind.

    Its connections are to ask the fast lane first.  `stop` is called when it cannot go on.
    """
    async with AsyncExitStack() as stack:
        identify, recognise = await stack.enter_async_context(_identifying(settings))
        if settings.protections is not None:
            protections = await asyncio.to_thread(load_protections, settings.protections)
            identify = held_to(protections, identify)
        database = await stack.enter_async_context(opened_database(settings))
        await database.tell_moments()
        records = Records(database)
        await prepare_directories(configured)
        uri_filter = UriFilter(settings.web)
        opened = OpenStores(configured, metrics.observer, guard=guard_of(uri_filter))
        stores = Stores(configured, opened)
        stack.push_async_callback(stores.aclose)
        places = Places(stores, settings.show_direct_url, settings.show_locations)
        limits = Limits(**asdict(settings.limits))
        quotas = await stack.enter_async_context(open_quotas(settings.quotas, database))
        notifier = await stack.enter_async_context(
            open_notifier(settings.notifications, metrics.notification)
        )
        formats = Formats(**asdict(settings.formats))
        background = build_background(database, stores, settings)
        locations = Locations(
            stores,
            uri_filter,
            limits,
            shown=settings.show_locations,
            algorithm=settings.hash_algorithm,
        )
        validator = ImageValidator(image_schema(formats))
        images = Images(
            database,
            places,
            validator,
            limits,
            locations=locations,
            discards=background.discards,
            hashing=background.hashing,
            quotas=quotas,
            notifier=notifier,
            records=records,
        )
        locating = Locating(
            database,
            locations,
            background.hashing,
            algorithm=settings.hash_algorithm,
            secure=settings.background.do_secure_hash,
        )
        keys = Keys(settings.keys)
        stack.callback(keys.close)
        checks = Checks(settings.inspection, keys)
        hashing = Hashing(settings.hash_algorithm, settings.manifest_chunk_bytes)
        leases = Leases(database, settings.uploads.lease_seconds)
        uploads = Uploads(
            *(database, stores, limits, hashing, checks),
            leases=leases,
            quotas=quotas,
            notifier=notifier,
        )
        feed = ChangeFeed(database)
        progress.at_closing(feed.close)
        resumable = ResumableUploads(
            database,
            stores,
            uploads=uploads,
            leases=leases,
            quotas=quotas,
            limits=limits,
            discards=background.prompt_discards,
            kept_seconds=settings.uploads.kept_seconds,
        )
        continued = ResumableHandlers(resumable, received)
        janitor = Janitor(database, stores, leases, resumable.settle, metrics.dead_upload)
        downloads = Downloads(
            *(database, stores),
            verify=settings.verify_downloads,
            notifier=notifier,
            records=records,
        )
        at_hand = AtHand(records, downloads)
        stack.push_async_callback(at_hand.aclose)
        copies = Copies(stores, background.discards, notifier=notifier)
        parts = Parts(
            database=database,
            stores=stores,
            discards=background.prompt_discards,
            downloads=downloads,
            limits=limits,
            hashing=hashing,
            leftovers=Leftovers(database, stores, leases),
            checks=checks,
            uri_filter=uri_filter,
            validator=validator,
            plugins=Plugins(settings.plugins, settings.inspection, limits.image_size_cap),
            keystone=(
                None
                if settings.authentication is None
                else settings.authentication.keystone.auth_url
            ),
            quotas=quotas,
            lease_seconds=settings.uploads.lease_seconds,
            notifier=notifier,
        )
        importing = await stack.enter_async_context(open_importing(settings.imports, parts))
        jobs = Jobs(
            database,
            {
                JANITOR: janitor.work,
                CLEAR: Turns(Leftovers(database, stores, leases).clear, "store", OF_A_STORE),
                **background.handlers,
                **importing.handlers,
            },
            settings.imports.host,
            settlers={**background.settlers, **importing.settlers},
            recurring={
                JANITOR: settings.uploads.janitor_seconds,
                FORGET_TASKS: FORGET_SECONDS,
                **background.recurring,
            },
            limits={**background.limits, **importing.limits},
            pace=pace_of(settings.uploads.lease_seconds),
        )
        metrics.watch(jobs)
        importing.told_to(jobs)
        background.hashing.told_to(jobs)
        readiness = Readiness(database)
        for work in (
            *(feed.watch(), leases.run(), jobs.run(), readiness.watch()),
            Orphans(database, stores, settings.imports).watch(),
        ):
            await stack.enter_async_context(_going_on(work, stop))
        health = HealthHandlers(readiness, progress, settings.front.disabling_file)
        application = build_application(
            progress,
            identify,
            Handlers(
                DiscoveryHandlers(
                    formats, settings.public_endpoint, several_stores=configured.several
                ),
                health,
                ImageHandlers(images, settings.imports.methods),
                MemberHandlers(Members(database, limits, notifier=notifier)),
                ImageDataHandlers(uploads, downloads, at_hand, continued),
                continued,
                ManifestHandlers(Manifests(database)),
                ChangeHandlers(feed),
                UsageHandlers(quotas),
                ContentHandlers(ContentSearch(database, places, limits)),
                StoreHandlers(StoreInfo(configured), copies),
                LocationHandlers(locating),
                ImportHandlers(importing.staging, importing.requests),
                TaskHandlers(Tasks(database, limits), importing.tasks),
                NamespaceHandlers(Metadefs(database, limits, notifier=notifier)),
                MetadefItemHandlers(MetadefItems(database, notifier=notifier)),
            ),
            settings.front,
        )
        yield application, FastLane(recognise, at_hand, downloads, progress), health


@asynccontextmanager
async def _identifying(settings: Settings) -> AsyncIterator[tuple[Identify, Recognise]]:
    if settings.authentication is None:
        yield everybody, anybody
        return
    # What it brings takes a quarter of a second to import, reads files, and is needed here only.
    authentication = await asyncio.to_thread(import_module, "registry.authentication")
    configured = settings.authentication
    async with authentication.open_callers(configured.keystone, configured.policy) as callers:
        LOG.info("callers are known by Keystone at %s", configured.keystone.auth_url)
        yield known_to(callers), callers.recognise


@asynccontextmanager
async def _going_on(
    work: Coroutine[Any, Any, None], stop: Callable[[], None]
) -> AsyncIterator[None]:
    """Do something that never ends by itself, for as long as the context lasts.

    If it does end, by a fault, the service has to stop: others take over what it leaves.
    """

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            LOG.critical("%s has ended: the service stops", work, exc_info=task.exception())
            stop()

    task = asyncio.create_task(work)
    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()  # it ended by a fault


@asynccontextmanager
async def listening(
    settings: Settings,
    stores: StoresSettings,
    stop: Callable[[], None] = lambda: None,
    hurry: asyncio.Event | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """Serve as long as the context lasts, and tell at which address; `stop` asks to leave it.

    Leaving it tells those who watch the health for `drain_notice_seconds`, then stops the listening
    and gives requests in progress `drain_seconds`; `hurry` ends both waits.
    """
    progress, metrics = Progress(hurry), StoreMetrics()
    async with (
        _told_metrics(settings, metrics),
        open_application(settings, stores, metrics, progress, stop) as (application, fast, health),
    ):
        runner = web.AppRunner(application, shutdown_timeout=FLUSH_SECONDS)
        await runner.setup()
        assert runner.server is not None
        connection = partial(
            Lane,
            runner.server,
            fast,
            access_log_class=AccessLog,
            auto_decompress=False,  # an image is stored as it was sent
            read_bufsize=RECEIVE_BYTES,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            lingering_time=0,  # `registry.web.errors` does it,
        )
        try:
            with _listening_at(settings.host, settings.port, "[DEFAULT] bind_host or bind_port"):
                loop = asyncio.get_running_loop()
                server = await loop.create_server(connection, settings.host, settings.port)
            try:
                host, port = server.sockets[0].getsockname()[:2]
                yield host, port
            finally:
                if health.is_watched:
                    LOG.info("balancers are told, for %d seconds", settings.drain_notice_seconds)
                    await progress.notify(settings.drain_notice_seconds)
                server.close()
                LOG.info("requests in progress have %d seconds", settings.drain_seconds)
                cut = await progress.settle(settings.drain_seconds)
                if cut:
                    LOG.warning("%d requests are cut off, behind [cacheproxy] drain_seconds", cut)
        finally:
            await runner.cleanup()
            await progress.unwind(UNWIND_SECONDS)


@asynccontextmanager
async def _told_metrics(settings: Settings, metrics: StoreMetrics) -> AsyncIterator[None]:
    """Tell Prometheus the figures as long as the context lasts, if the operator will."""
    if settings.metrics_port is None:
        yield
        return
    runner = web.AppRunner(metrics_application(metrics), access_log=None)
    await runner.setup()
    try:
        host, port = settings.metrics_host, settings.metrics_port
        options = "[cacheproxy] metrics_host or metrics_port"
        with _listening_at(host, port, options):
            await web.TCPSite(runner, host, port).start()
        LOG.info("telling figures on port %d of %s", runner.addresses[0][1], host)
        yield
    finally:
        await runner.cleanup()


@contextmanager
def _listening_at(host: str, port: int, options: str) -> Iterator[None]:
    """Say what to change where an address cannot be had."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}): "
            f"change {options}, or stop what is there"
        ) from None


async def serve(settings: Settings, stores: StoresSettings) -> None:
    """Serve until SIGTERM or SIGINT, of which the second one ends the drain.

    A service manager that waits for it is told.
    """
    manager = Notify.from_environment(os.environ)
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    async with listening(settings, stores, stop.set, hurry) as (host, port):
        shown = f"[{host}]" if ":" in host else host
        LOG.info("serving the image catalog on http://%s:%d", shown, port)
        manager.send("READY=1", f"STATUS=serving on http://{shown}:{port}")
        await stop.wait()
        longest = settings.drain_notice_seconds + settings.drain_seconds + FLUSH_SECONDS
        longest += UNWIND_SECONDS + CLOSE_SECONDS
        manager.send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round(longest * 1e6)}")
        LOG.info("stopping")
    LOG.info("stopped")
