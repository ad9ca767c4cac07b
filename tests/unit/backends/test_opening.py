from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backends.base import PruneStore, WriteStore
from backends.errors import UnsupportedError
from backends.location import Location
from backends.opening import open_store, options_type
from backends.options import (
    DataDirectory,
    FilesystemOptions,
    Handling,
    HttpOptions,
    MemoryOptions,
)
from backends.rbd.options import RbdOptions
from backends.swift.options import SwiftAccount, SwiftOptions
from contracts.subject import read, write


async def test_a_file_store(tmp_path: Path) -> None:
    options = FilesystemOptions((DataDirectory(tmp_path),))
    store = open_store(options, Handling(at_once=3, attempts=2))
    assert isinstance(store, PruneStore)
    assert repr(store) == f"Retrying(attempts=2) > Limited(at_once=3) > FilesystemStore({tmp_path})"
    location = await write(store, "image", b"content")
    assert isinstance(options, options_type(location))
    assert await read(store, location) == b"content"
    await store.aclose()


async def test_other_stores() -> None:
    store = open_store(HttpOptions())
    assert not isinstance(store, WriteStore)
    assert repr(store).endswith("> HttpStore()")
    await store.aclose()
    memory = open_store(MemoryOptions())
    location = await write(memory, "image", b"content")
    assert options_type(location) is MemoryOptions
    await memory.aclose()


def test_a_swift_store() -> None:
    account = SwiftAccount("http://keystone/v3", "project:user", "key")
    store = open_store(SwiftOptions({"ref1": account}))
    assert isinstance(store, PruneStore)
    assert repr(store).endswith("> SwiftStore(http://keystone/v3, glance)")


@pytest.mark.parametrize("uri", ["vsphere://host/image", "nothing", "", "://x"])
def test_no_driver(uri: str) -> None:
    with pytest.raises(UnsupportedError):
        options_type(Location(uri))


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("file:///images/1", FilesystemOptions),
        ("filesystem:///images/1", FilesystemOptions),
        ("http://host/image", HttpOptions),
        ("HTTPS://host/image", HttpOptions),
        ("rbd://fsid/pool/image/snap", RbdOptions),
        ("swift://project:user:key@host/images/image", SwiftOptions),
        ("swift+http://host/v1/AUTH_a/images/image", SwiftOptions),
        ("swift+https://host/v1/AUTH_a/images/image", SwiftOptions),
        ("swift+config://ref1/images/image", SwiftOptions),
    ],
)
def test_schemes(uri: str, options: type) -> None:
    assert options_type(Location(uri)) is options


def test_drivers_are_imported_when_they_are_opened() -> None:
    program = """
import sys, backends.opening as opening, backends.options as options
drivers = {"backends.memory", "backends.file.store", "backends.http.store", "aiohttp", "keystoneauth1"}
drivers |= {"backends.swift.store", "backends.swift.client"}
assert not drivers & set(sys.modules), drivers & set(sys.modules)
opening.open_store(options.MemoryOptions())
assert drivers & set(sys.modules) == {"backends.memory"}
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
