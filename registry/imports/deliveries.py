"""Data on its way into one store for an import, as the database has it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from registry.domain.errors import InvalidRequestError, RegistryError
from registry.domain.image import Image
from registry.imports.orders import Order
from registry.imports.records import Arrival, ImportRecords
from registry.imports.sources import Ready
from registry.service.intake import Taken
from registry.service.stores import NamedStore


class Delivery:
    """The `Ledger` of an import's data; `image` is as it was before, then as it is with the data."""

    def __init__(  # noqa: PLR0913  # what goes where
        self,
        records: ImportRecords,
        order: Order,
        image: Image,
        *,
        store: str | None,
        target: NamedStore,
        source: Ready,
        activates: bool,
    ) -> None:
        self.image = image
        self.is_refused = False  # the record takes nothing of it, whichever store has it
        self._records = records
        self._order = order
        self._store = store
        self._target = target
        self._source = source
        self._activates = activates

    def held(self) -> AbstractAsyncContextManager[None]:
        """Return nothing of its own: who loses the job is cancelled."""
        return nullcontext()

    async def begin(self) -> None:
        """Note that the store may hold something from now on."""
        await self._records.begin_store(self._order, self._target.name)

    async def enter(self, taken: Taken) -> None:
        """Give the image its data, or one more copy, which must be the same."""
        is_copy = bool(self.image.locations)
        if is_copy:
            _require_same(self.image, taken.fields)
        arrival = Arrival(
            self._store,
            self._target.name,
            taken.place,
            {} if is_copy else {**self._source.fields, **taken.fields},
            self._source.properties,
            () if is_copy else taken.pages,
        )
        try:
            self.image = await self._records.arrive(self._order, arrival, activates=self._activates)
        except RegistryError:
            self.is_refused = True
            raise

    async def has(self, taken: Taken) -> bool:
        """Tell whether the image has it after all."""
        return await self._records.has(self._order, taken.place)


def _require_same(image: Image, found: Mapping[str, Any]) -> None:
    """Refuse a copy that is not what it was made of."""
    if image.os_hash_value and image.os_hash_algo == found["os_hash_algo"]:
        is_same = image.os_hash_value == found["os_hash_value"]
    else:
        is_same = image.checksum in {None, found["checksum"]}
    if not is_same:
        raise InvalidRequestError("The data that a store holds is not the image's.")
