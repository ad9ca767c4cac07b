"""The RBD driver as a client with the rights that Ceph's documentation gives to Glance, and with fewer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from backends.errors import DeniedError
from backends.spans import Span
from contracts.rbd import left_in, location_of, opened, options_of
from contracts.subject import PIECE, pattern, read, write
from harness.ceph import Ceph, running_ceph


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """Run a Ceph that asks who one is."""
    directory = tmp_path_factory.mktemp("ceph")
    with running_ceph(directory, authenticating=True) as ceph:
        ceph.make_user("glance", "profile rbd", f"profile rbd pool={ceph.pool}")
        ceph.make_user("reader", "profile rbd", f"profile rbd-read-only pool={ceph.pool}")
        ceph.make_user("other", "profile rbd", "profile rbd pool=elsewhere")
        yield ceph


async def test_glances_rights_are_enough(strict: Ceph) -> None:
    content = pattern(3 * PIECE)
    async with opened(options_of(strict, user="glance")) as store:
        async with store.create("image") as writer:
            await writer.write(content)
            location = (await writer.commit()).location
        assert await read(store, location) == content
        for _ in range(2):  # the second time it is open already
            assert await read(store, location, Span(1, PIECE)) == content[1:PIECE]
        await store.require_unused(location)
        await store.delete(location)
        async with store.create("left"):
            pass
    async with opened(options_of(strict, user="admin")) as store:
        assert await left_in(store) == set()


async def test_who_may_only_read(strict: Ceph) -> None:
    content = pattern(PIECE) + bytes(
        2 * PIECE
    )  # with zeros, of which it is looked whether they are
    async with (
        opened(options_of(strict, user="glance")) as store,
        opened(options_of(strict, user="reader")) as reader,
    ):
        location = await write(store, "image", content)
        for _ in range(2):
            assert await read(reader, location) == content
        assert (await reader.stat(location)).size == len(content)
        with pytest.raises(DeniedError):
            await write(reader, "other", b"x")
        with pytest.raises(DeniedError):
            await reader.delete(location)
        assert await read(store, location) == content
        await store.delete(location)


async def test_who_may_nothing_here(strict: Ceph) -> None:
    async with opened(options_of(strict, user="other")) as store:
        with pytest.raises(DeniedError):
            await write(store, "image", b"x")
        with pytest.raises(DeniedError):
            await store.stat(location_of(strict, "image"))


async def test_who_has_no_key(strict: Ceph) -> None:
    async with opened(options_of(strict, user="nobody", answer_seconds=5)) as store:
        with pytest.raises(DeniedError, match="connection to Ceph") as denied:
            await store.stat(location_of(strict, "image"))
    keys = await asyncio.to_thread((strict.directory / "keyring").read_text)
    secrets = [line.rpartition("key = ")[2] for line in keys.splitlines() if "key = " in line]
    assert secrets
    assert not [key for key in secrets if key in str(denied.value)]
