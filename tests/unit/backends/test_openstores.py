"""The configured stores: by name, by location, and each by itself."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from backends.base import PruneStore, WriteStore
from backends.configuration import StoreSettings, StoresSettings
from backends.errors import MissingError, StoreError, UnavailableError, UnsupportedError
from backends.location import Location
from backends.openstores import OpenStores
from backends.options import (
    DataDirectory,
    FilesystemOptions,
    HttpOptions,
    MemoryOptions,
    StoreOptions,
)
from backends.rbd.options import RbdOptions
from backends.s3.options import S3Options
from backends.swift.options import SwiftAccount, SwiftOptions
from contracts.subject import read, write


def settings(**stores: StoreOptions) -> StoresSettings:
    kinds = tuple(StoreSettings(name, "", options) for name, options in stores.items())
    return StoresSettings(kinds, kinds[0].name, several=True)


class Heard:
    def __init__(self) -> None:
        self.operations: list[str] = []

    def moved(self, operation: str, count: int) -> None:
        pass

    def ended(self, operation: str, seconds: float, moved: int, error: StoreError | None) -> None:
        del seconds
        kind = "" if error is None else type(error).__name__
        self.operations.append(f"{operation} {moved} {kind}".strip())


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., OpenStores]]:
    made: list[OpenStores] = []

    def make(**stores: StoreOptions) -> OpenStores:
        made.append(OpenStores(settings(**stores)))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


def directory(path: Path) -> FilesystemOptions:
    return FilesystemOptions((DataDirectory(path),))


def prune(stores: OpenStores, name: str) -> PruneStore:
    store = stores.named(name)
    assert isinstance(store, PruneStore)
    return store


async def test_stores_by_name(opened: Callable[..., OpenStores], tmp_path: Path) -> None:
    stores = opened(fast=directory(tmp_path), web=HttpOptions())
    fast, web = stores.named("fast"), stores.named("web")
    assert isinstance(fast, PruneStore)
    assert not isinstance(web, WriteStore)
    assert repr(fast) == "fast: not opened"
    location = await write(fast, "image", b"content")
    assert await read(fast, location) == b"content"
    assert (await fast.stat(location)).size == 7
    assert repr(fast).endswith(f"> FilesystemStore({tmp_path})")
    await fast.delete(location)
    with pytest.raises(MissingError):
        await fast.stat(location)
    with pytest.raises(UnsupportedError, match="no store is called slow"):
        stores.named("slow")


async def test_every_operation_is_watched(tmp_path: Path) -> None:
    heard: dict[str, Heard] = {}
    stores = OpenStores(
        settings(a=directory(tmp_path), b=MemoryOptions()),
        lambda name: heard.setdefault(name, Heard()),
    )
    location = await write(prune(stores, "a"), "image", b"content")
    await read(stores.named("a"), location)
    assert heard["a"].operations == ["create 7", "read 7"]
    assert heard["b"].operations == []
    await stores.aclose()


async def test_one_that_cannot_be_opened_is_told_once(
    opened: Callable[..., OpenStores],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "backends.s3.store", None)  # as if its library were missing
    broken = HttpOptions(ca_file=tmp_path / "missing.pem")
    stores = opened(
        s3=S3Options("host", "bucket", "access", "secret"),
        web=broken,
        fast=directory(tmp_path),
    )
    with caplog.at_level(logging.INFO, "backends"):
        await stores.open()
        assert "not opened" not in repr(stores.named("fast"))
        for name in ("s3", "s3", "web", "web"):
            with pytest.raises(UnavailableError, match=f"the store {name} cannot be opened"):
                await stores.named(name).stat(Location("s3://host/bucket/image"))
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    location = await write(prune(stores, "fast"), "image", b"content")
    assert await read(stores.named("fast"), location) == b"content"


async def test_many_who_come_first_open_it_once(
    opened: Callable[..., OpenStores], tmp_path: Path
) -> None:
    stores = opened(fast=directory(tmp_path))
    locations = await asyncio.gather(
        *(write(prune(stores, "fast"), f"image{number}", b"x") for number in range(8))
    )
    assert len(locations) == 8


SWIFT = SwiftAccount("http://keystone:5000/v3", "service:glance", "secret")
OTHER = SwiftAccount("http://keystone:5000/v3", "other:glance", "secret")
STORES: dict[str, StoreOptions] = {
    "fast": FilesystemOptions((DataDirectory(Path("/nvme")), DataDirectory(Path("/ssd")))),
    "slow": directory(Path("/disk")),
    "web": HttpOptions(),
    "s3": S3Options("https://s3.example.com", "images", "a", "b"),
    "s3b": S3Options("https://s3.example.com", "others", "a", "b"),
    "s3c": S3Options("http://other.example.com", "images", "a", "b"),
    "rbd": RbdOptions(pool="images", fsid="f-1"),
    "rbdb": RbdOptions(pool="others", fsid="f-1"),
    "rbdc": RbdOptions(pool="images", fsid="f-2"),
    "flat": SwiftOptions({"ref1": SWIFT}, container="glance"),
    "other": SwiftOptions({"ref1": OTHER}, container="glance"),
    "refs": SwiftOptions(
        {"one": SWIFT, "two": OTHER}, default_reference="one", locations_name_references=True
    ),
    "seeded": SwiftOptions(
        {"one": SWIFT, "two": OTHER},
        default_reference="two",
        locations_name_references=True,
        containers_seed=2,
    ),
    "boxes": SwiftOptions({"ref1": SWIFT}, container="boxes"),
}


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("file:///nvme/1", "fast"),
        ("filesystem:///ssd/1", "fast"),
        ("file:///disk/1", "slow"),
        ("https://anywhere/1", "web"),
        ("s3+https://s3.example.com/images/1", "s3"),
        ("s3+https://ACCESS:SECR/ET@s3.example.com/images/1", "s3"),
        ("s3+https://s3.example.com/others/1", "s3b"),
        ("s3://other.example.com/images/1", "s3c"),
        ("s3://elsewhere/others/1", "s3b"),
        ("rbd://f-1/images/1/snap", "rbd"),
        ("rbd://f-1/others/1/snap", "rbdb"),
        ("rbd://f-2/images/1/snap", "rbdc"),
        ("rbd://f-2/volumes/1/snap", "rbdc"),
        ("swift+http://service%3Aglance:key@keystone:5000/v3/glance/1", "flat"),
        ("swift+http://service%3Aglance:key@keystone:5000/v3/boxes/1", "boxes"),
        ("swift+http://other%3Aglance:key@keystone:5000/v3/glance/1", "other"),
        ("swift+config://one/glance/1", "refs"),
        ("swift+config://two/glance_1a/1", "seeded"),
    ],
)
async def test_stores_of_one_kind_are_told_apart(
    opened: Callable[..., OpenStores], uri: str, name: str
) -> None:
    stores = opened(**STORES)
    assert stores.holding(Location(uri)) == (name, stores.named(name))
    backwards = opened(**dict(reversed(STORES.items())))
    assert backwards.holding(Location(uri))[0] == name


@pytest.mark.parametrize(
    "uri",
    [
        "file:///elsewhere/1",
        "s3://host/elsewhere/1",
        "s3:nonsense",
        "rbd://f-3/images/1/snap",
        "rbd://f-1/images/1",
        "swift+config://three/glance/1",
        "swift+https://service%3Aglance:key@elsewhere/v3/glance/1",
        "vsphere://host/1",
        "memory://1",
        "nonsense",
    ],
)
async def test_a_location_of_no_store(opened: Callable[..., OpenStores], uri: str) -> None:
    with pytest.raises(UnsupportedError):
        opened(**STORES).holding(Location(uri))


async def test_the_only_store_of_a_kind_has_every_location_of_it(
    opened: Callable[..., OpenStores], tmp_path: Path
) -> None:
    stores = opened(file=directory(tmp_path), s3=STORES["s3"])
    assert stores.holding(Location("file:///elsewhere/1"))[0] == "file"
    assert stores.holding(Location("s3://moved/elsewhere/1"))[0] == "s3"


async def test_what_the_metadata_tell_counts(opened: Callable[..., OpenStores]) -> None:
    stores = opened(**STORES)
    location = Location("s3+https://s3.example.com/images/1")
    assert stores.holding(location, "s3c")[0] == "s3c"
    assert stores.holding(location, "fast")[0] == "s3"  # not of that kind
    assert stores.holding(location, "gone")[0] == "s3"  # not there any more
