"""Chunks to one worker: a herd shares a message, and nobody's chunks come out of order."""

from __future__ import annotations

import asyncio
import os

import pytest

from cacheproxy.core.proof import Identity
from cacheproxy.processes.messages import Chunk, Recipient
from cacheproxy.processes.parcels import Parcels
from cacheproxy.store.chunkstore import OpenChunk
from harness.store_case import open_descriptors

A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))


class Post:
    """Notes what is held and sent."""

    def __init__(self) -> None:
        self.held: list[bytes] = []
        self.sent: list[tuple[bytes, list[tuple[int, int]]]] = []
        self.parcels = Parcels(self.held.append, self._send)
        self.failure: Exception | None = None

    def _send(self, chunk: Chunk, fds: tuple[int]) -> None:
        assert Identity.of(os.fstat(fds[0])) == chunk.identity
        if self.failure is not None:
            raise self.failure
        pairs = [(recipient.reader, recipient.index) for recipient in chunk.recipients]
        self.sent.append((chunk.digest, pairs))

    def add(self, reader: int, index: int, digest: bytes) -> None:
        recipient = Recipient(reader, index, fetched=True)
        if not self.parcels.join(recipient, digest):
            fd = os.open("/dev/null", os.O_RDONLY)
            opened = OpenChunk(fd, Identity.of(os.fstat(fd)), 1.0)
            self.parcels.add(recipient, digest, opened, 5)


async def test_a_herd_gets_one_message() -> None:
    before = open_descriptors()
    post = Post()
    for reader in range(1, 65):
        post.add(reader, 7, A)
    assert post.sent == []
    assert open_descriptors() == before + 1
    await asyncio.sleep(0)
    assert post.sent == [(A, [(reader, 7) for reader in range(1, 65)])]
    assert post.held == [A]
    assert open_descriptors() == before
    post.add(1, 8, A)  # of another turn
    await asyncio.sleep(0)
    assert post.sent[1:] == [(A, [(1, 8)])]
    assert post.held == [A, A]


async def test_each_reader_gets_his_chunks_in_order() -> None:
    post = Post()
    post.add(1, 1, B)  # who is ahead
    post.add(2, 0, A)
    post.add(2, 1, B)  # the parcel of B goes out before that of A
    post.add(3, 1, B)
    post.add(3, 2, C)
    post.add(2, 2, C)
    post.parcels.flush()
    assert post.sent == [
        (B, [(1, 1)]),
        (A, [(2, 0)]),
        (B, [(2, 1), (3, 1)]),
        (C, [(3, 2), (2, 2)]),
    ]
    for reader in (1, 2, 3):
        indexes = [index for _, pairs in post.sent for each, index in pairs if each == reader]
        assert indexes == sorted(indexes)
    assert post.held == [B, A, B, C]


async def test_a_failure_to_send_leaves_no_descriptor() -> None:
    before = open_descriptors()
    post = Post()
    post.add(1, 0, A)
    post.failure = KeyError("sending")
    with pytest.raises(KeyError):
        post.parcels.flush()
    assert open_descriptors() == before
    post.parcels.flush()
    assert post.sent == []
