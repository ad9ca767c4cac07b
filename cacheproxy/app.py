"""The composition root: the one place where the proxy's objects are built and put together.

The supervisor imports this module; what a child needs is imported by the child alone, after the
fork, so that the supervisor stays small and no library's state is inherited.
"""

from __future__ import annotations

import asyncio
import os
import socket

from cacheproxy.config import Settings
from cacheproxy.metrics import Meter


def run_keeper(settings: Settings, control: socket.socket, meter: Meter) -> int:
    """Be the keeper until drained; the exit code (78: it cannot work, and has said why)."""
    from cacheproxy.processes import child

    return child.run(_keeper(settings, control, meter))


def run_worker(settings: Settings, number: int, control: socket.socket, meter: Meter) -> int:
    """Be a worker until drained; the exit code."""
    from cacheproxy.processes import child

    return child.run(_worker(settings, number, control, meter))


async def _keeper(settings: Settings, control_socket: socket.socket, meter: Meter) -> int:
    from cacheproxy.admin.address import default_socket
    from cacheproxy.admin.results import Processes, Worker
    from cacheproxy.fill.content import Contents
    from cacheproxy.fill.flights import Flights
    from cacheproxy.inspection import Daemon, Inspection
    from cacheproxy.metrics import CHILD_STARTS
    from cacheproxy.operations import Operations
    from cacheproxy.processes.admin import AdminServer
    from cacheproxy.processes.control import Control
    from cacheproxy.processes.keeper import Keeper, dying
    from cacheproxy.store.chunkstore import ChunkStore
    from cacheproxy.upstream import Upstream
    from cacheproxy.version import version

    cache = settings.cache
    stop = asyncio.Event()
    running = await asyncio.to_thread(version)
    upstream = Upstream(settings.upstream, meter)
    store = await ChunkStore.open(cache, meter, on_dying=dying)
    contents = Contents(store, cache.chunk_bytes, settings.upstream.trust_upstream_hashes)
    flights = Flights(contents, store, upstream, cache, meter)
    keeper = Keeper(store, flights, cache)

    def processes() -> Processes:
        return Processes(
            supervisor_pid=os.getppid(),
            keeper_pid=os.getpid(),
            workers=[Worker(number=each.worker, pid=each.pid) for each in keeper.workers()],
            keeper_starts=int(meter.total(CHILD_STARTS, "keeper")),
            worker_starts=int(meter.total(CHILD_STARTS, "worker")),
        )

    daemon = Daemon(running, str(cache.directory), processes)
    inspection = Inspection(flights, store, meter, daemon)
    operations = Operations(inspection, flights, store, upstream, cache)
    admin = AdminServer(settings.admin_socket or default_socket(cache.directory), operations)
    control = Control(
        control_socket,
        on_link=keeper.connect,
        on_drain=stop.set,
        on_lost=stop.set,
    )
    try:
        keeper.start()
        control.start()
        control.ready()
        admin.start()
        await stop.wait()
    finally:
        await admin.close()
        await operations.close()
        await keeper.close()
        await store.close()
        await upstream.close()
        control.close()
    return 0


async def _worker(
    settings: Settings, number: int, control_socket: socket.socket, meter: Meter
) -> int:
    from cacheproxy.bypass import Bypass
    from cacheproxy.permission import Permissions
    from cacheproxy.processes.link import KeeperLink
    from cacheproxy.processes.worker import Worker
    from cacheproxy.serve import Images
    from cacheproxy.upstream import Upstream
    from cacheproxy.web.front import Door, Front, metrics_page
    from cacheproxy.web.image_file import ImageFile
    from cacheproxy.web.passthrough import PassThrough

    cache = settings.cache
    upstream = Upstream(settings.upstream, meter)
    permissions = Permissions(upstream, settings.upstream)
    link = KeeperLink(cache, meter)
    bypass = Bypass(upstream, cache.bypass_rereads_max)
    images = Images(link, upstream, bypass, cache, meter)
    worker = Worker(number, link, permissions, settings.drain_seconds)
    passthrough = PassThrough(upstream, meter, worker.changed)
    image_file = ImageFile(images, permissions, passthrough, meter) if cache.enabled else None
    front = Front(image_file, passthrough)
    api = Door(front, meter, worker.connection_closed, log=True)
    metrics = Door(metrics_page(meter), meter, worker.connection_closed, log=False)
    try:
        await worker.run(control_socket, api, metrics)
    finally:
        images.close()
        await permissions.close()
        await upstream.close()
    return 0
