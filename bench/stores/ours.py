"""One operation with our driver: `python -m bench.stores.ours JOB`."""

from __future__ import annotations

import asyncio
import hashlib

import uvloop
from oslo_config import cfg

from backends.base import PruneStore
from backends.configuration import read_stores
from backends.location import Location
from backends.opening import open_store
from backends.spans import Span
from bench.stores import job as jobs
from bench.stores.job import Done, Job, Source, measured

PIECE_BYTES = 1 << 20  # what a catalog hands on at once


def opened(configuration: str) -> PruneStore:
    """Open the store that takes new images, as the catalog does."""
    sections: dict[str, dict[str, list[str]]] = {}
    cfg.ConfigParser(configuration, sections).parse()
    settings = read_stores(sections)
    (options,) = (each.options for each in settings.stores if each.name == settings.default)
    store = open_store(options)
    assert isinstance(store, PruneStore)
    return store


async def run(job: Job) -> Done:
    """Do it."""
    store = opened(job.configuration)
    done = Done()
    try:
        if job.known:
            await store.stat(Location(job.known))
        match job.verb:
            case jobs.UP | jobs.UP_HASHED:
                await _up(store, job, done)
            case jobs.DOWN:
                with measured(job, done):
                    done.moved = await _count(store, job)
            case jobs.RANGES:
                with measured(job, done):
                    for start, stop in job.spans:
                        done.moved += await _count(store, job, Span(start, stop))
            case jobs.CHECK:
                whole = hashlib.sha256()
                async with store.read(Location(job.uri)) as stream:
                    async for piece in stream:
                        whole.update(piece)
                done.result = whole.hexdigest()
            case _:
                await store.delete(Location(job.uri))
    finally:
        await store.aclose()
    return done


async def _count(store: PruneStore, job: Job, span: Span | None = None) -> int:
    count = 0
    async with store.read(Location(job.uri), span) as stream:
        async for piece in stream:
            count += len(piece)
    return count


async def _up(store: PruneStore, job: Job, done: Done) -> None:
    source = Source(job.size)
    hashes = [hashlib.new(name) for name in jobs.HASHES] if job.verb == jobs.UP_HASHED else []

    with measured(job, done):
        async with store.create(job.name, job.size) as writer:
            while piece := source.read(PIECE_BYTES):
                hashing = (asyncio.to_thread(each.update, piece) for each in hashes)
                await asyncio.gather(writer.write(piece), *hashing)
            done.result = (await writer.commit()).location.uri
    done.moved = job.size


if __name__ == "__main__":
    uvloop.run(run(Job.told())).tell()
