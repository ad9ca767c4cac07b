"""Puts the catalog together and runs it: the one place where its objects are built."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from importlib import import_module

from aiohttp import web

from backends.configuration import StoresSettings
from backends.notify import Notify
from backends.openstores import OpenStores
from registry.config import Settings
from registry.db.changes import renew_feed
from registry.db.database import Database
from registry.db.schema import SchemaState, schema_state, upgrade_schema
from registry.directories import prepare_directories, require_directory
from registry.domain.limits import Limits
from registry.domain.schemas import Formats, image_schema
from registry.domain.validation import ImageValidator
from registry.errors import ConfigError
from registry.metrics import StoreMetrics
from registry.service.changes import ChangeFeed
from registry.service.copies import Copies
from registry.service.digests import Hashing
from registry.service.downloads import Downloads
from registry.service.images import Images
from registry.service.manifests import Manifests
from registry.service.members import Members
from registry.service.places import Places
from registry.service.storeinfo import StoreInfo
from registry.service.stores import Stores
from registry.service.uploads import Uploads
from registry.web.changes import ChangeHandlers
from registry.web.discovery import DiscoveryHandlers
from registry.web.identity import Identify, everybody, known_to
from registry.web.image_data import ImageDataHandlers
from registry.web.images import ImageHandlers
from registry.web.manifests import ManifestHandlers
from registry.web.members import MemberHandlers
from registry.web.metrics import metrics_application
from registry.web.progress import Progress
from registry.web.routes import Handlers, build_application
from registry.web.stores import StoreHandlers

LOG = logging.getLogger(__name__)

RECEIVE_BYTES = 1 << 20  # received and not yet read, per connection (aiohttp lets it double)
HEADER_BYTES_MAX = 64 << 10  # one header line: Keystone's tokens and long filters fit
FLUSH_SECONDS = 2.0  # for what has been answered to leave, and requests that were cut to notice
UNWIND_SECONDS = 30.0  # for a request that was cut to undo what it began
ACCESS_LOG_FORMAT = '%a "%r" %s %b %Tf "%{User-Agent}i" %{X-OpenStack-Request-ID}o'


async def sync_database(settings: Settings) -> SchemaState:
    """Bring the database to the newest revision, creating it where it is missing."""
    database = await asyncio.to_thread(Database, settings.database)
    directory = database.file.parent
    await asyncio.to_thread(require_directory, directory, "[database] connection", create=False)
    try:
        return await upgrade_schema(database)
    finally:
        await database.aclose()


async def renew_changes(settings: Settings) -> None:
    """Begin the feed of changes anew: what was told before may be untrue of a restored database."""
    async with _opened_database(settings) as database, database.write() as connection:
        await renew_feed(connection)


@asynccontextmanager
async def open_application(
    settings: Settings, configured: StoresSettings, metrics: StoreMetrics, progress: Progress
) -> AsyncIterator[web.Application]:
    """Build the application on a database that is up to date, and close it all behind."""
    async with AsyncExitStack() as stack:
        identify = await stack.enter_async_context(_identifying(settings))
        database = await stack.enter_async_context(_opened_database(settings))
        await prepare_directories(configured)
        stores = Stores(configured, OpenStores(configured, metrics.observer))
        stack.push_async_callback(stores.aclose)
        places = Places(stores, settings.show_direct_url, settings.show_locations)
        limits = Limits(**asdict(settings.limits))
        formats = Formats(**asdict(settings.formats))
        images = Images(database, places, ImageValidator(image_schema(formats)), limits)
        hashing = Hashing(settings.hash_algorithm, settings.manifest_chunk_bytes)
        uploads = Uploads(database, stores, limits, hashing)
        feed = await stack.enter_async_context(_watched(ChangeFeed(database)))
        progress.at_closing(feed.close)
        yield build_application(
            progress,
            identify,
            Handlers(
                DiscoveryHandlers(
                    formats, settings.public_endpoint, several_stores=configured.several
                ),
                ImageHandlers(images),
                MemberHandlers(Members(database, limits)),
                ImageDataHandlers(
                    uploads, Downloads(database, stores, verify=settings.verify_downloads)
                ),
                ManifestHandlers(Manifests(database)),
                ChangeHandlers(feed),
                StoreHandlers(StoreInfo(configured), Copies(database, stores)),
            ),
        )


@asynccontextmanager
async def _opened_database(settings: Settings) -> AsyncIterator[Database]:
    database = await asyncio.to_thread(Database, settings.database)
    try:
        await _require_schema(database)
        yield database
    finally:
        await database.aclose()


@asynccontextmanager
async def _identifying(settings: Settings) -> AsyncIterator[Identify]:
    if settings.authentication is None:
        yield everybody
        return
    # What it brings takes a quarter of a second to import, reads files, and is needed here only.
    authentication = await asyncio.to_thread(import_module, "registry.authentication")
    configured = settings.authentication
    async with authentication.open_callers(configured.keystone, configured.policy) as callers:
        LOG.info("callers are known by Keystone at %s", configured.keystone.auth_url)
        yield known_to(callers)


@asynccontextmanager
async def _watched(feed: ChangeFeed) -> AsyncIterator[ChangeFeed]:
    watching = asyncio.create_task(feed.watch())
    try:
        yield feed
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        if not watching.cancelled():
            watching.result()  # it ends by itself only by a fault


@asynccontextmanager
async def listening(settings: Settings, stores: StoresSettings) -> AsyncIterator[tuple[str, int]]:
    """Serve as long as the context lasts, and tell at which address.

    Leaving it stops the listening at once, and gives requests in progress `drain_seconds`.
    """
    progress, metrics = Progress(), StoreMetrics()
    async with (
        _told_metrics(settings, metrics),
        open_application(settings, stores, metrics, progress) as application,
    ):
        runner = web.AppRunner(
            application,
            shutdown_timeout=FLUSH_SECONDS,
            access_log_format=ACCESS_LOG_FORMAT,
            auto_decompress=False,  # an image is stored as it was sent
            read_bufsize=RECEIVE_BYTES,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            lingering_time=0,  # `registry.web.errors` does it,
        )
        await runner.setup()
        try:
            site = await _start_site(
                runner, settings.host, settings.port, "[DEFAULT] bind_host or bind_port"
            )
            try:
                host, port = runner.addresses[0][:2]
                yield host, port
            finally:
                await site.stop()
                cut = await progress.settle(settings.drain_seconds)
                if cut:
                    LOG.warning("%d requests are cut off", cut)
        finally:
            await runner.cleanup()
            await progress.settle(UNWIND_SECONDS)


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
        await _start_site(runner, host, port, options)
        LOG.info("telling figures on port %d of %s", runner.addresses[0][1], host)
        yield
    finally:
        await runner.cleanup()


async def _start_site(runner: web.AppRunner, host: str, port: int, options: str) -> web.TCPSite:
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}): "
            f"change {options}, or stop what is there"
        ) from None
    return site


async def serve(settings: Settings, stores: StoresSettings) -> None:
    """Serve until SIGTERM or SIGINT; a service manager that waits for it is told."""
    manager = Notify.from_environment(os.environ)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with listening(settings, stores) as (host, port):
        shown = f"[{host}]" if ":" in host else host
        LOG.info("serving the image catalog on http://%s:%d", shown, port)
        manager.send("READY=1", f"STATUS=serving on http://{shown}:{port}")
        await stop.wait()
        manager.send("STOPPING=1")
        LOG.info("stopping; requests in progress have %.0f seconds", settings.drain_seconds)
    LOG.info("stopped")


async def _require_schema(database: Database) -> None:
    remedy = "run `cacheproxy-registry --config-file FILE db sync`"
    if not await asyncio.to_thread(database.file.exists):
        raise ConfigError(f"there is no database {database.file}: {remedy}")
    state = await schema_state(database)
    if not state.is_newest:
        raise ConfigError(
            f"the database is at revision {state.current or 'none'} and this program needs "
            f"{state.newest}: {remedy}"
        )
