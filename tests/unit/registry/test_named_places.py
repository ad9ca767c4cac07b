"""Which places callers may name: a store reaches more than the pool or container that it is for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.base import ReadStore, Stat
from backends.configuration import KINDS, StoreSettings, StoresSettings
from backends.location import Location
from backends.memory import MemoryStore
from harness.given_images import LIMITS
from registry.domain.errors import InvalidRequestError, LimitExceededError
from registry.domain.identity import EVERYBODY, Identity
from registry.fetching.filtering import UriFilter
from registry.fetching.options import FilterSettings
from registry.service.locations import Locations
from registry.service.stores import Stores

SERVICE = Identity("p", "nova", is_admin=False, roles=frozenset({"service"}))
FOR_USER = Identity("p", "u", is_admin=False, service_roles=frozenset({"service"}))
USER = Identity("p", "u", is_admin=False)
OPTIONS = {
    "rbd": {"rbd_store_pool": "images"},
    "swift": {
        "swift_store_auth_address": "https://keystone.example/v3",
        "swift_store_user": "service:glance",
        "swift_store_key": "k",
        "swift_store_container": "glance",
    },
}
SWIFT = "swift+https://service%3Aglance:k@keystone.example/v3"
OWN = [("rbd", "rbd://f51d/images/1/snap"), ("rbd", "rbd://1"), ("swift", f"{SWIFT}/glance/1")]
REACHED = [("rbd", "rbd://f51d/volumes/1/snap"), ("swift", f"{SWIFT}/backups/1")]


class Full(MemoryStore):
    """A store that has something everywhere."""

    async def stat(self, location: Location) -> Stat:
        del location
        return Stat(4)


class Single:
    """One store, opened."""

    def __init__(self) -> None:
        self.store = Full()

    def named(self, name: str) -> ReadStore:
        del name
        return self.store

    def holding(self, location: Location, name: str | None = None) -> tuple[str, ReadStore]:
        del location, name
        return "only", self.store

    async def aclose(self) -> None:
        """Nothing is open."""


def locations_of(kind: str, **limits: int) -> Locations:
    settings = StoreSettings("only", kind, KINDS[kind](OPTIONS[kind]), 0)
    stores = Stores(StoresSettings((settings,), "only", several=False), Single())
    return Locations(stores, UriFilter(FilterSettings()), replace(LIMITS, **limits))


@pytest.mark.parametrize("identity", [USER, EVERYBODY, FOR_USER, SERVICE])
@pytest.mark.parametrize(("kind", "url"), OWN)
async def test_everybody_names_what_the_store_is_for(
    kind: str, url: str, identity: Identity
) -> None:
    assert (await locations_of(kind).find(identity, url, None)).size == 4


@pytest.mark.parametrize(("kind", "url"), REACHED)
async def test_only_services_name_other_pools_and_containers(kind: str, url: str) -> None:
    for identity in (FOR_USER, SERVICE):
        assert (await locations_of(kind).find(identity, url, None)).size == 4
    for identity in (USER, EVERYBODY):
        with pytest.raises(InvalidRequestError, match="fits no store"):
            await locations_of(kind).find(identity, url, None)


async def test_what_is_larger_than_images_may_be_is_not_taken() -> None:
    (kind, url) = OWN[0]
    assert (await locations_of(kind, image_size_cap=4).find(SERVICE, url, None)).size == 4
    with pytest.raises(LimitExceededError, match="too large"):
        await locations_of(kind, image_size_cap=3).find(SERVICE, url, None)
