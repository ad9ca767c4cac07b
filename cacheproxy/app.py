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
from cacheproxy.processes.past import Past


def run_keeper(settings: Settings, past: Past, control: socket.socket, meter: Meter) -> int:
    """Be the keeper until drained; the exit code.

    os.EX_CONFIG: it cannot work, and has said why; os.EX_TEMPFAIL: the cache is to be opened anew;
    os.EX_DATAERR: and its index to be made again.
    """
    from cacheproxy.processes import child

    return child.run(_keeper(settings, past, control, meter))


def run_worker(settings: Settings, number: int, control: socket.socket, meter: Meter) -> int:
    """Be a worker until drained; the exit code."""
    from cacheproxy.processes import child

    return child.run(_worker(settings, number, control, meter))


async def _keeper(
    settings: Settings, past: Past, control_socket: socket.socket, meter: Meter
) -> int:
    from cacheproxy.fill.content import Contents
    from cacheproxy.fill.flights import Flights
    from cacheproxy.processes.control import Control
    from cacheproxy.processes.keeper import Keeper, dying
    from cacheproxy.processes.storelife import open_store, use_store
    from cacheproxy.upstream import Upstream

    cache = settings.cache
    stop = asyncio.Event()
    control = Control(
        control_socket,
        on_link=lambda sock, _: keeper.connect(sock),  # only to a keeper that is ready
        on_drain=stop.set,
        on_lost=stop.set,
    )
    control.start()
    store = await open_store(cache, past, meter, stop, on_dying=dying, on_waiting=control.waiting)
    if store is None:
        return os.EX_TEMPFAIL
    upstream = Upstream(settings.upstream, meter)
    contents = Contents(store, cache.chunk_bytes, settings.upstream.trust_upstream_hashes)
    keeper = Keeper(store, Flights(contents, store, upstream, cache, meter), cache)
    keeper.start()
    control.ready()
    code = await use_store(store, stop)
    if code != 0:
        keeper.cut()
        return code
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
        await permissions.close()
        await upstream.close()
    return 0
