"""The same with glance_store, in Glance's own environment: `python -m bench.stores.theirs JOB`."""

from __future__ import annotations

import glance_store
from glance_store import exceptions
from glance_store.common import utils
from oslo_config import cfg

from bench.stores import job as jobs
from bench.stores.job import Done, Job, Source, measured


class NoHash:
    """What glance_store is given where hashing, which it always does, is not to be measured."""

    def update(self, data: bytes) -> None:
        """Do nothing."""

    def hexdigest(self) -> str:
        """Return nothing."""
        return ""


def run(job: Job) -> Done:
    """Do it."""
    conf = cfg.CONF
    glance_store.register_opts(conf)
    conf(["--config-file", job.configuration])
    glance_store.create_stores(conf)
    done = Done()
    if job.known:
        glance_store.get_size_from_backend(job.known)
    match job.verb:
        case jobs.UP | jobs.UP_HASHED:
            if job.verb == jobs.UP:
                utils.get_hasher = lambda *_, **__: NoHash()
            source = Source(job.size)
            # 5.7 announces a full last segment to Swift, whatever is left: 0 is an unknown size.
            size = 0 if conf.glance_store.default_store == "swift" else job.size
            with measured(job, done):
                told = glance_store.add_to_backend_with_multihash(
                    conf, job.name, source, size, jobs.HASHES[1]
                )
            done.result, done.moved = told[0], told[1]
        case jobs.DOWN:
            with measured(job, done):
                pieces, _ = glance_store.get_from_backend(job.uri)
                done.moved = sum(map(len, pieces))
        case jobs.RANGES:
            with measured(job, done):
                for start, stop in job.spans:
                    done.moved += _range(job.uri, start, stop, done)
        case jobs.CHECK:
            pieces, _ = glance_store.get_from_backend(job.uri)
            done.result = jobs.digest_of(pieces)
        case _:
            glance_store.delete_from_backend(job.uri)
    return done


def _range(uri: str, start: int, stop: int, done: Done) -> int:
    """Return how many bytes of a span came; what refuses ranges is read up to its end."""
    try:
        pieces, _ = glance_store.get_from_backend(uri, offset=start, chunk_size=stop - start)
        return sum(map(len, pieces))
    except exceptions.StoreRandomGetNotSupported:
        done.refused = True
    pieces, _ = glance_store.get_from_backend(uri)
    place = 0
    for piece in pieces:
        place += len(piece)
        if place >= stop:
            return stop - start
    return max(0, place - start)


if __name__ == "__main__":
    run(Job.told()).tell()
