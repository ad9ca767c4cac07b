"""What uploads left in stores, taken away by a running catalog: each store by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from backends.configuration import StoreSettings, StoresSettings
from backends.options import DataDirectory, FilesystemOptions
from registry.config import Settings
from registry.db.database import Database
from registry.db.jobs import add_job, is_owed
from registry.service.jobs import AT_ONCE
from registry.service.leftovers import CLEAR, OF_A_STORE
from registry.service.stores import Stores


@pytest.fixture
def stores(tmp_path: Path) -> StoresSettings:
    def store(name: str) -> StoreSettings:
        return StoreSettings(name, "file", FilesystemOptions((DataDirectory(tmp_path / name),)))

    return StoresSettings((store("well"), store("hung")), "well", True)


async def test_a_store_that_hangs_holds_up_no_other(
    catalog: object, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    del catalog  # it runs
    clear, hanging, most = Stores.clear, 0, 0

    async def hangs(stores: Stores, store: str, name: str) -> int:
        nonlocal hanging, most
        if store != "hung":
            return await clear(stores, store, name)
        hanging += 1
        most = max(most, hanging)
        try:
            await asyncio.Event().wait()
        finally:
            hanging -= 1
        raise AssertionError("it hangs for ever")

    monkeypatch.setattr(Stores, "clear", hangs)
    database = await asyncio.to_thread(Database, settings.database)
    try:
        well, hung = str(uuid4()), [str(uuid4()) for _ in range(2 * AT_ONCE)]
        for image_id in (*hung, well):
            told = {"store": "well" if image_id == well else "hung"}
            await database.change(add_job, CLEAR, image_id=image_id, arguments=told)
        async with asyncio.timeout(60):
            while await database.query(is_owed, CLEAR, well):
                pass
    finally:
        await database.aclose()
    assert most == OF_A_STORE
