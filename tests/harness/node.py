"""The proxy as operators run it: `python -m cacheproxy serve`, all its processes.

In an async test that plays the upstream itself use `async_node`: the program may ask its upstream
while it starts and stops.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from harness.http import ask
from harness.program import REPOSITORY, Program, free_port

CONFIGURATION = """
[DEFAULT]
bind_host = 127.0.0.1
bind_port = {port}
workers = {workers}
[upstream]
url = {upstream}
trust_upstream_hashes = {trust}
[cache]
enabled = true
directory = {cache}
image_cache_size = {limit}
[metrics]
bind_host = 127.0.0.1
bind_port = {metrics}
"""
LIMIT_BYTES = 2 << 30
SIGNED_URLS = "[signed_urls]\nenabled = true\n"  # for `more`


@dataclass(frozen=True, slots=True)
class Node:
    """A running proxy."""

    url: str
    metrics_url: str
    cache: Path
    program: Program

    def metrics(self) -> dict[str, float]:
        """Return all samples, by name, or by `name{label="value"}` where they have labels."""
        text = ask("GET", f"{self.metrics_url}/metrics").expect(200).body.decode()
        samples: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{key}="{sample.labels[key]}"' for key in sorted(sample.labels))
                samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return samples

    def signed_url(self, image: str, headers: Mapping[str, str] | None = None) -> str:
        """Return a URL for those who cannot send `headers`; the node has them enabled."""
        address = f"{self.url}/cacheproxy/v1/images/{image}/url"
        return str(ask("POST", address, headers=headers).expect(201).json()["url"])


@contextmanager
def running_node(
    directory: Path,
    upstream: str,
    *,
    workers: int = 1,
    limit_bytes: int = LIMIT_BYTES,
    trust_upstream_hashes: bool = False,
    more: str = "",
    cache: Path | None = None,
    environment: Mapping[str, str] | None = None,
    codes: Sequence[int] = (0,),
) -> Iterator[Node]:
    """Serve a cache below `directory` in front of `upstream`; a bad end of it is a failure.

    `more` is appended to the configuration.  An existing cache in `directory`, or elsewhere with
    `cache`, is used again.  `codes` are the exit codes of a good end.
    """
    port, metrics = free_port(), free_port()
    cache = cache or directory / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    configuration = directory / "cacheproxy.conf"
    configuration.write_text(
        CONFIGURATION.format(
            port=port,
            metrics=metrics,
            workers=workers,
            upstream=upstream,
            trust=trust_upstream_hashes,
            cache=cache,
            limit=limit_bytes,
        )
        + more
    )
    program = Program(
        f"cacheproxy-{port}",
        [sys.executable, "-m", "cacheproxy", "serve", "--config-file", configuration],
        directory=directory,
        environment={"PYTHONPATH": str(REPOSITORY), **(environment or {})},
    )
    try:
        program.wait_for_port(port)
        program.wait_for_port(metrics)
        yield Node(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics}", cache, program)
    finally:
        program.stop(codes=codes)


@asynccontextmanager
async def async_node(
    directory: Path,
    upstream: str,
    *,
    workers: int = 1,
    limit_bytes: int = LIMIT_BYTES,
    trust_upstream_hashes: bool = False,
    more: str = "",
    cache: Path | None = None,
    environment: Mapping[str, str] | None = None,
    codes: Sequence[int] = (0,),
) -> AsyncIterator[Node]:
    """Do the same as `running_node` while the event loop runs on."""
    context = running_node(
        directory,
        upstream,
        workers=workers,
        limit_bytes=limit_bytes,
        trust_upstream_hashes=trust_upstream_hashes,
        more=more,
        cache=cache,
        environment=environment,
        codes=codes,
    )
    node = await asyncio.to_thread(context.__enter__)
    try:
        yield node
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)
