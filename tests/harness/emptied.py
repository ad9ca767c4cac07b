"""Stores that a test looks into from outside: what they hold, whoever left it there."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from contracts.s3 import left_in, opened
from contracts.swift import Container
from harness.stores import swift_store
from harness.swift import Swift


@dataclass(frozen=True, slots=True)
class VisibleStore:
    """The configuration of a store, and the names of everything that is physically in it."""

    kind: str
    section: str
    names: Callable[[], Awaitable[set[str]]]


def file_store(directory: Path) -> VisibleStore:
    """Return a file store below `directory`."""
    images = directory / "images"

    async def names() -> set[str]:
        return {path.name for path in images.iterdir()} if images.exists() else set()

    section = _section("file", filesystem_store_datadir=str(images))
    return VisibleStore("file", section, names)


def moto_store(url: str) -> VisibleStore:
    """Return a bucket of its own; parts that nobody has put together count."""
    bucket = f"images-{secrets.token_hex(4)}"

    async def names() -> set[str]:
        async with opened(url, bucket=bucket) as store:
            await store._check_bucket(await store._client.get())
            return await left_in(store)

    section = _section(
        "s3",
        s3_store_host=url,
        s3_store_access_key="access",
        s3_store_secret_key="secret",  # of a server that asks for none
        s3_store_bucket=bucket,
        s3_store_create_bucket_on_put="true",
        s3_store_large_object_size="5",
        s3_store_large_object_chunk_size="5",
    )
    return VisibleStore("s3", section, names)


def segmented_swift(swift: Swift) -> VisibleStore:
    """Return a container of its own; segments count."""
    container = f"images-{secrets.token_hex(4)}"
    options = {
        **swift_store(swift).options,
        "swift_store_container": container,
        "swift_store_large_object_size": "1",
        "swift_store_large_object_chunk_size": "5",
    }

    async def names() -> set[str]:
        return Container(swift, container).names()

    return VisibleStore("swift", _section("swift", **options), names)


def _section(kind: str, **options: str) -> str:
    lines = [f"{name} = {value}" for name, value in options.items()]
    return "\n".join(
        ["", "[glance_store]", f"stores = {kind}", f"default_store = {kind}", *lines, ""]
    )
