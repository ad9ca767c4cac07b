"""The table of who may do what, asked of the real Glance and of our catalog, with the real Keystone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.catalog import STORES_OF_GLANCE, THIS_MACHINE, WITH_KEYSTONE, running_catalog
from harness.glance import Glance
from harness.keystone import Keystone
from harness.metadef_roles import METADEF_CALLS, METADEFS, MetadefWorld
from harness.roles import (
    CALLS,
    OTHER_CALLS,
    OUR_CALLS,
    OUR_OTHER_CALLS,
    VISIBILITIES,
    Call,
    World,
    add_users,
)
from harness.roles_table import OTHERS, OUR_OTHERS, OUR_TABLE, TABLE

ALL_CALLS = CALLS | OUR_CALLS
ALL_OTHER_CALLS = OTHER_CALLS | OUR_OTHER_CALLS


@pytest.fixture(scope="module")
def peopled(keystone: Keystone) -> Keystone:
    add_users(keystone)
    return keystone


@pytest.fixture(scope="module")
def real(glance: Glance, peopled: Keystone) -> World:
    return World(glance.url, peopled)


@pytest.fixture(scope="module")
def ours(peopled: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("catalog")
    more = (STORES_OF_GLANCE + WITH_KEYSTONE + THIS_MACHINE).format(
        directory=directory, keystone=peopled.url
    )
    with running_catalog(directory, more) as catalog:
        yield World(catalog.url, peopled)


@pytest.fixture(scope="module")
def our_definitions(ours: World) -> MetadefWorld:
    return MetadefWorld(ours.url, ours.keystone)


@pytest.fixture(scope="module")
def definitions_of_glance(real: World) -> MetadefWorld:
    return MetadefWorld(real.url, real.keystone)


def rows(world: World, call: Call) -> tuple[str, ...]:
    return tuple(" ".join(world.rows(call, visibility)) for visibility in VISIBILITIES)


@pytest.mark.parametrize("name", CALLS)
def test_glance(real: World, name: str) -> None:
    assert rows(real, CALLS[name]) == TABLE[name]


@pytest.mark.parametrize("name", OTHER_CALLS)
def test_glance_about_no_image(real: World, name: str) -> None:
    assert " ".join(real.rows(OTHER_CALLS[name], "private")) == OTHERS[name]


@pytest.mark.parametrize("name", ALL_CALLS)
def test_our_catalog(ours: World, name: str) -> None:
    assert rows(ours, ALL_CALLS[name]) == (TABLE | OUR_TABLE)[name]


@pytest.mark.parametrize("name", ALL_OTHER_CALLS)
def test_our_catalog_about_no_image(ours: World, name: str) -> None:
    found = " ".join(ours.rows(ALL_OTHER_CALLS[name], "private"))
    assert found == (OTHERS | OUR_OTHERS)[name]


@pytest.mark.parametrize("name", METADEF_CALLS)
def test_our_metadata_definitions(our_definitions: MetadefWorld, name: str) -> None:
    assert our_definitions.rows(METADEF_CALLS[name]) == METADEFS[name]


@pytest.mark.long
@pytest.mark.parametrize("name", METADEF_CALLS)
def test_metadata_definitions_of_glance(definitions_of_glance: MetadefWorld, name: str) -> None:
    assert definitions_of_glance.rows(METADEF_CALLS[name]) == METADEFS[name]
