"""The composition root: the one place where the proxy's objects are built and put together.

The supervisor imports this module; what a child needs is imported by the child alone, after the
fork, so that the supervisor stays small and no library's state is inherited.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from cacheproxy import clientlibrary
from cacheproxy.certificate import Certificate
from cacheproxy.config import Settings
from cacheproxy.meter import Meter
from cacheproxy.processes.orders import WorkerLink
from cacheproxy.processes.past import Past

if TYPE_CHECKING:
    from backends.configuration import StoresSettings
    from backends.openstores import OpenStores
    from cacheproxy.account import Account
    from cacheproxy.directreads import DirectReads
    from cacheproxy.grants import Grants
    from cacheproxy.identity import Identities
    from cacheproxy.operations import Operations
    from cacheproxy.permission import Permissions
    from cacheproxy.processes.admin import AdminServer
    from cacheproxy.processes.control import Control
    from cacheproxy.processes.keeper import Keeper
    from cacheproxy.processes.link import KeeperLink
    from cacheproxy.processes.worker import Worker
    from cacheproxy.upstream import Upstream
    from cacheproxy.web.cache_api import CacheApi


STORES_SECONDS = 5.0  # for the stores that are read directly to be closed, at the end


def run_keeper(
    settings: Settings,
    stores: StoresSettings | None,
    past: Past,
    control: socket.socket,
    meter: Meter,
) -> int:
    """Be the keeper until drained; the exit code.  `stores`: which ones it reads directly.

    os.EX_CONFIG: it cannot work, and has said why; os.EX_TEMPFAIL: the cache is to be opened anew;
    os.EX_DATAERR: and its index to be made again.
    """
    from cacheproxy.processes import child, turns

    turns.give_way()
    clientlibrary.bring_in()
    return child.run(_keeper(settings, stores, past, control, meter))


def run_worker(
    settings: Settings,
    number: int,
    control: socket.socket,
    meter: Meter,
    certificate: Certificate | None,
) -> int:
    """Be a worker until drained; the exit code."""
    from cacheproxy.processes import child, turns

    turns.come_soon()
    clientlibrary.bring_in()
    return child.run(_worker(settings, number, control, meter, certificate))


async def _keeper(
    settings: Settings,
    found_stores: StoresSettings | None,
    past: Past,
    control_socket: socket.socket,
    meter: Meter,
) -> int:
    from cacheproxy.account import Account
    from cacheproxy.fill.content import Contents
    from cacheproxy.fill.flights import Flights
    from cacheproxy.fill.gone import GoneImages
    from cacheproxy.fill.source import NoShortcuts
    from cacheproxy.fill.unfinished import Unfinished
    from cacheproxy.follower import Follower
    from cacheproxy.processes import child
    from cacheproxy.processes.control import Control
    from cacheproxy.processes.keeper import Keeper, dying
    from cacheproxy.processes.storelife import open_store, use_store
    from cacheproxy.steward import Steward
    from cacheproxy.upstream import Upstream

    cache = settings.cache
    stop = asyncio.Event()

    def linked(sock: socket.socket, worker: WorkerLink | None) -> None:
        keeper.connect(sock, worker)  # only a keeper that is ready is given links

    control = Control(
        control_socket,
        on_link=linked,
        on_drain=stop.set,
        on_lost=stop.set,
        on_reload=lambda order: keeper.reload(order),  # noqa: PLW0108  (as above)
    )
    control.start()
    store = await open_store(cache, past, meter, stop, on_dying=dying, on_waiting=control.waiting)
    if store is None:
        return os.EX_TEMPFAIL
    upstream = Upstream(settings.upstream, meter)
    contents = Contents(store, cache.chunk_bytes, settings.upstream.trust_upstream_hashes)
    account = Account(settings.service_user)
    stores, direct = _direct(settings, found_stores, upstream, account, meter)
    flights = Flights(contents, store, upstream, account, cache, meter, direct or NoShortcuts())
    gone = GoneImages(store, flights, meter)
    keeper = Keeper(store, flights, gone, cache)
    unfinished = Unfinished(flights, store, upstream, account, cache)
    follower = Follower(
        upstream,
        account,
        store,
        gone,
        poll_seconds=settings.upstream.gone_poll_seconds,
        read_timeout_seconds=settings.upstream.head_seconds,
        on_change=control.purge,
        meter=meter,
    )
    admin, operations = await _admin(settings, keeper, upstream, account, direct, control, meter)
    keeper.steward = Steward(operations, store, account)
    keeper.start()
    control.ready()
    admin.start()
    background = [
        child.background("forgetting images", gone.run()),
        child.background("following the upstream", follower.run()),
        child.background("completing what was begun", unfinished.run()),
        child.background("managing the cache", keeper.steward.run()),
        *([] if stores is None else [child.background("opening the stores", stores.open())]),
    ]
    code = await use_store(store, stop)
    if code != 0:
        keeper.cut()
        return code
    await child.end(background)
    await admin.close()
    await operations.close()
    await keeper.close()
    await _let_go(stores)
    await account.close()
    await store.close()
    await upstream.close()
    control.close()
    return 0


def _direct(
    settings: Settings,
    found: StoresSettings | None,
    upstream: Upstream,
    account: Account,
    meter: Meter,
) -> tuple[OpenStores, DirectReads] | tuple[None, None]:
    """Build what reads stores directly, where that is wanted."""
    from backends.openstores import OpenStores
    from backends.options import Handling
    from cacheproxy import storefiles
    from cacheproxy.directreads import DirectReads
    from cacheproxy.locations import Locations

    if found is None:
        return None, None
    # Never waits for a place; what fails twice is the upstream's to send.
    at_once = settings.cache.fills_max * settings.cache.fill_streams_max
    handling = Handling(at_once=at_once, attempts=2)
    stall_seconds = settings.stores.stall_seconds
    found = storefiles.within(found, settings.cache.fills_memory_bytes)
    stores = OpenStores(found, handling=handling)
    locations = Locations(upstream, account, meter)
    return stores, DirectReads(locations, stores, found.stores, stall_seconds, meter)


async def _let_go(stores: OpenStores | None) -> None:
    """Close the stores; one that hangs ends with the process."""
    if stores is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(STORES_SECONDS):
                await stores.aclose()


async def _admin(  # noqa: PLR0913, PLR0917  everything is a collaborator
    settings: Settings,
    keeper: Keeper,
    upstream: Upstream,
    account: Account,
    direct: DirectReads | None,
    control: Control,
    meter: Meter,
) -> tuple[AdminServer, Operations]:
    """Build what answers the operator's commands."""
    from cacheproxy.admin.address import default_socket
    from cacheproxy.admin.results import Processes, Worker
    from cacheproxy.inspection import Daemon, Inspection
    from cacheproxy.metrics import CHILD_STARTS
    from cacheproxy.operations import Operations
    from cacheproxy.processes.admin import AdminServer
    from cacheproxy.version import version

    def processes() -> Processes:
        return Processes(
            supervisor_pid=os.getppid(),
            keeper_pid=os.getpid(),
            workers=[Worker(number=each.worker, pid=each.pid) for each in keeper.workers()],
            keeper_starts=int(meter.total(CHILD_STARTS, "keeper")),
            worker_count=settings.workers,
            worker_starts=int(meter.total(CHILD_STARTS, "worker")),
        )

    cache = settings.cache
    daemon = Daemon(
        *(
            await asyncio.to_thread(version),
            str(cache.directory),
            settings.upstream.urls,
            processes,
        ),
        *([direct.states] if direct is not None else []),
    )
    inspection = Inspection(keeper.flights, keeper.store, meter, daemon)
    operations = Operations(
        inspection, keeper.flights, keeper.store, upstream, account, cache, control.purge
    )
    path = settings.admin_socket or default_socket(cache.directory)
    return AdminServer(path, operations), operations


async def _worker(
    settings: Settings,
    number: int,
    control_socket: socket.socket,
    meter: Meter,
    certificate: Certificate | None,
) -> int:
    from cacheproxy.asking import Asking
    from cacheproxy.bypass import Bypass
    from cacheproxy.identity import Identities
    from cacheproxy.notifier import Notifier
    from cacheproxy.permission import Permissions
    from cacheproxy.processes import child
    from cacheproxy.processes.link import KeeperLink
    from cacheproxy.processes.worker import Worker
    from cacheproxy.serve import Images
    from cacheproxy.upstream import Upstream
    from cacheproxy.web.fast_lane import FastLane
    from cacheproxy.web.front import Door, Front, metrics_page
    from cacheproxy.web.image_file import ImageFile
    from cacheproxy.web.passthrough import PassThrough
    from cacheproxy.web.signed import SignedUrls
    from cacheproxy.web.witness import Witness

    cache = dataclasses.replace(
        settings.cache, hot_files_max=child.open_files_max(settings.cache.hot_files_max)
    )
    upstream = Upstream(settings.upstream, meter)
    permissions = Permissions(Asking(upstream), settings.upstream, meter)
    link = KeeperLink(cache, meter)
    bypass = Bypass(upstream, cache.bypass_rereads_max)
    images = Images(link, upstream, bypass, cache, meter)
    link.on_unusable = images.chunks.break_off
    worker = Worker(number, link, permissions, settings.drain_seconds)
    if certificate is not None:
        worker.certify(certificate)
    worker.beliefs.append(images.memory)
    grants = _grants(settings, upstream, permissions, worker, meter)
    identities = Identities(settings.keystone) if settings.keystone.auth_url else None
    cache_api = _cache_api(settings, link, upstream, identities, meter)
    passthrough = PassThrough(
        upstream, meter, worker.changed, worker.deleted, has_cache=cache_api is not None
    )
    bus = settings.notifications
    notifier = Notifier(bus, meter) if bus.transport_url else None
    witness = Witness(link.steward, identities, notifier)
    image_file = (
        ImageFile(images, permissions, passthrough, meter, witness) if cache.enabled else None
    )
    logged = settings.access_log
    fast = FastLane(images, permissions, meter, witness, identities, log_requests=logged)
    signed_urls = SignedUrls(settings.signed_urls, grants, image_file, meter)
    front = Front(image_file, passthrough, signed_urls, cache_api)
    api = Door(
        front,
        meter,
        worker.connection_closed,
        log=logged,
        identities=identities,
        fast=fast if settings.fast_lane and cache.enabled else None,
    )
    metrics = Door(metrics_page(meter), meter, worker.connection_closed, log=False)
    try:
        await worker.run(control_socket, api, metrics)
    finally:
        for part in (fast, images, grants, permissions, identities):
            if part is not None:
                await part.close()
        if notifier is not None:
            await asyncio.to_thread(notifier.close)
        await upstream.close()
    return 0


def _cache_api(
    settings: Settings,
    link: KeeperLink,
    upstream: Upstream,
    identities: Identities | None,
    meter: Meter,
) -> CacheApi | None:
    """Build what answers for this node's cache, where that is wanted."""
    from cacheproxy.web.cache_api import CacheApi
    from cacheproxy.web.cache_rights import KeystoneRights, UpstreamRights

    if settings.cache_api != "local":
        return None
    rights = UpstreamRights(upstream) if identities is None else KeystoneRights(identities)
    return CacheApi(rights, link.steward, upstream, meter)


def _grants(
    settings: Settings, upstream: Upstream, permissions: Permissions, worker: Worker, meter: Meter
) -> Grants | None:
    """Build what gives and honours signed URLs, where they are wanted."""
    from cacheproxy.account import Account
    from cacheproxy.grantbook import GrantBook
    from cacheproxy.grantfiles import GrantFiles
    from cacheproxy.grants import Grants
    from cacheproxy.identity import Identities
    from cacheproxy.permission import Permissions
    from cacheproxy.projectright import ProjectRight

    if not settings.signed_urls.enabled:
        return None
    account = Account(settings.service_user)
    project_right = ProjectRight(upstream, account)
    projects = Permissions(project_right, settings.upstream, meter)
    grants = Grants(
        settings.signed_urls,
        GrantBook(GrantFiles(settings.signed_urls_directory), settings.signed_urls),
        upstream=upstream,
        permissions=permissions,
        project_right=project_right,
        projects=projects,
        account=account,
        identities=Identities(settings.keystone_for_tokens),
        tell=worker.tell,
    )
    worker.beliefs.append(projects)
    worker.on_told = grants.told
    return grants
