"""Has the same conversations with a worker that has a fast lane, and with one that has none."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.conversation import Conversation, Kind
from fuzz.sides import Outcome, Side, soon
from fuzz.world import Files

# aiohttp tells of malformed requests unless they are the first that it sees of a connection.
NOT_COMPARED = "Error handling request"

_MADE_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SECONDS = re.compile(r" \d+\.\d{3}s ")


@dataclass(frozen=True, slots=True)
class Account:
    """What a conversation has come to."""

    outcomes: list[Outcome]
    told: list[object]  # to keeper and upstream
    closed: list[object]  # files that were given back, whenever: threads may still read them
    figures: list[float]
    log: list[str]
    touched: set[bytes] = field(compare=False)  # what the keeper reads it counts by itself


class Lanes:
    """Tries conversations."""

    def __init__(self, directory: Path) -> None:
        self.files = Files(directory)
        self.requests = 0  # sent
        self.file_requests = 0  # answered, for image data, where there is a fast lane
        self.fast_requests = 0  # of these, by the fast lane

    def close(self) -> None:
        """Let go of the files."""
        self.files.close()

    async def try_one(self, conversation: Conversation) -> None:
        """Have a conversation with ours and with aiohttp, and compare."""
        self.requests += conversation.requests
        ours = await self._have(conversation, conversation.kind)
        plain = await self._have(conversation, "plain")
        assert ours == plain
        assert ours.touched >= plain.touched

    async def _have(self, conversation: Conversation, kind: Kind) -> Account:
        before = asyncio.all_tasks()
        side = Side(self.files, kind)
        with _noted() as log:
            try:
                await side.know(conversation.caller)
                outcomes = [await side.converse(parts) for parts in conversation.connections]
            finally:
                await side.close()
            await soon(lambda: asyncio.all_tasks() <= before)
        if kind == "fast":
            self.file_requests += side.file_requests
            self.fast_requests += side.fast_requests
        told, closed = list[object](), list[object]()
        for each in side.told:
            (closed if isinstance(each, tuple) and each[0] == "closed" else told).append(each)
        closed.sort(key=repr)
        return Account(outcomes, told, closed, side.figures(), log, side.keeper.touched)


class _Noting(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO and record.getMessage().startswith(NOT_COMPARED):
            return
        line = _SECONDS.sub(" ", _MADE_ID.sub("an id", record.getMessage()))
        self.log.append(f"{record.levelname} {line}")


@contextmanager
def _noted() -> Iterator[list[str]]:
    """Note what is logged meanwhile; nobody may make an error of it that reaches the loop."""
    loop, logger, noting = asyncio.get_running_loop(), logging.getLogger("cacheproxy"), _Noting()
    complaints: list[str] = []

    def complain(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        complaints.append(f"{context['message']}: {context.get('exception')!r}")

    former = logger.handlers, logger.propagate, logger.level, loop.get_exception_handler()
    logger.handlers, logger.propagate = [noting], False
    logger.setLevel(logging.INFO)
    loop.set_exception_handler(complain)
    try:
        yield noting.log
    finally:
        logger.handlers, logger.propagate = former[:2]
        logger.setLevel(former[2])
        loop.set_exception_handler(former[3])
    assert complaints == []
    errors = [line for line in noting.log if not line.startswith("INFO")]
    assert errors == []
