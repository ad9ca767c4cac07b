"""The worker's words to the keeper's steward: administrators' orders, and how images were used."""

from __future__ import annotations

import asyncio
import itertools
from typing import NamedTuple, Protocol, TypeVar

from cacheproxy import cacheorders
from cacheproxy.errors import BusyError, KeeperError
from cacheproxy.processes import messages

ORDERS_MAX = 8  # at once
ORDER_SECONDS_MAX = 300.0  # for one to be carried out; the keeper goes on with it all the same
USED_IMAGES_MAX = 256  # images whose uses are told in one message

T = TypeVar("T")


class Speaks(Protocol):
    """The link to the keeper."""

    def ask(self, message: messages.FromWorker) -> None:
        """Say something that needs the disk; KeeperError if that cannot be."""

    def tell(self, message: messages.FromWorker) -> None:
        """Say something that a keeper who is away need not know."""

    async def alive(self, answer: asyncio.Future[T]) -> T:
        """Wait for something from the keeper for as long as it gives signs of life."""


class _Ordered(NamedTuple):
    rows: list[cacheorders.Rows]
    ending: asyncio.Future[cacheorders.Ending]


class StewardLink:
    """Sends orders, and keeps those that are not answered; a part of the link."""

    def __init__(self, link: Speaks) -> None:
        self._link = link
        self._numbers = itertools.count(1)
        self._orders: dict[int, _Ordered] = {}
        self._used: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<StewardLink {len(self._orders)} orders>"

    async def order(
        self, order: cacheorders.AnyOrder
    ) -> tuple[list[cacheorders.Rows], cacheorders.Ending]:
        """Have an order carried out; what was listed, and how it ended.

        KeeperError if nobody tells, BusyError beyond `ORDERS_MAX`.
        """
        if len(self._orders) >= ORDERS_MAX:
            raise BusyError("too many orders at once")
        number = next(self._numbers)
        ordered = self._orders[number] = _Ordered([], asyncio.get_running_loop().create_future())
        try:
            self._link.ask(messages.Manage(number, order))
            async with asyncio.timeout(ORDER_SECONDS_MAX):
                return ordered.rows, await self._link.alive(ordered.ending)
        except TimeoutError:
            raise KeeperError("the order is not carried out yet") from None
        finally:
            del self._orders[number]

    def used(self, image_id: str) -> None:
        """An image was answered from the cache alone; told in batches."""
        self._used[image_id] = self._used.get(image_id, 0) + 1
        if len(self._used) >= USED_IMAGES_MAX:
            self.flush()

    def flush(self) -> None:
        """Tell what was used since the last time."""
        if self._used:
            self._link.tell(messages.Used(dict(self._used)))
            self._used.clear()

    def take(self, message: messages.Managed) -> None:
        """The keeper answers."""
        ordered = self._orders.get(message.request)
        if ordered is None:
            return  # nobody waits any more
        if isinstance(message.reply, cacheorders.Rows):
            ordered.rows.append(message.reply)
        elif not ordered.ending.done():
            ordered.ending.set_result(message.reply)

    def give_up(self, why: str) -> None:
        """The keeper will not answer."""
        for ordered in self._orders.values():
            if not ordered.ending.done():
                ordered.ending.set_exception(KeeperError(why))
