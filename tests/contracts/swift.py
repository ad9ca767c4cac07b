"""Swift stores under test: each in a container of its own, of which nothing is left."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from backends.swift.options import SwiftAccount, SwiftOptions
from backends.swift.store import SwiftStore
from contracts.subject import PIECE, Subject, write
from harness.http import Answer, ask
from harness.keystone import GLANCE
from harness.swift import Swift

ACCOUNT_USER, ACCOUNT_KEY = f"{GLANCE.project}:{GLANCE.name}", GLANCE.password


@dataclass(frozen=True)
class Container:
    """A container of the account that Glance's user has."""

    swift: Swift
    name: str

    def ask(self, method: str, path: str = "", **options: Any) -> Answer:
        headers = {"X-Auth-Token": self.swift.keystone.token(GLANCE)}
        headers |= options.pop("headers", {})
        url = f"{self.swift.account(GLANCE)}/{self.name}{path}"
        return ask(method, url, headers=headers, **options)

    def names(self) -> set[str]:
        """Return the names of all objects, none where there is no container."""
        answer = self.ask("GET", "?format=json").expect(200, 404)
        return {entry["name"] for entry in answer.json()} if answer.status == 200 else set()

    def remove(self) -> None:
        for name in self.names():
            self.ask("DELETE", f"/{name}").expect(204, 404)
        self.ask("DELETE").expect(204, 404)


def account(swift: Swift) -> SwiftAccount:
    return SwiftAccount(swift.keystone.url, ACCOUNT_USER, ACCOUNT_KEY)


def options_of(swift: Swift, **changed: Any) -> SwiftOptions:
    """Return the options of a store in a new container, with small pieces."""
    chosen: dict[str, Any] = {
        "accounts": {"ref1": account(swift)},
        "container": f"images-{secrets.token_hex(4)}",
        "create_container": True,
        "region": "RegionOne",
        "read_buffer_bytes": PIECE,
        "piece_bytes": 1000,
    }
    return SwiftOptions(**(chosen | changed))


@asynccontextmanager
async def opened(options: SwiftOptions) -> AsyncIterator[SwiftStore]:
    store = SwiftStore(options)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def swift_subject(swift: Swift, **changed: Any) -> AsyncIterator[Subject]:
    options = options_of(swift, **changed)
    container = Container(swift, options.container)

    async def leftovers() -> set[str]:
        return container.names()

    async with opened(options) as store:
        missing = store._accounts.new_location("absent")
        try:
            hidden = (f"{GLANCE.name}:{GLANCE.password}",)
            yield Subject(store, partial(write, store), leftovers, missing, secrets=hidden)
        finally:
            container.remove()
