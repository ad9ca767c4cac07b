"""Stories of metadata definitions, told to Glance and to the catalog: the same answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings

from differential.call import Caller
from differential.long_run import LongRun
from differential.metadef_sides import MetadefSides
from differential.metadefs import metadef_stories
from differential.stories import Story
from differential.test_like_glance import USERS, thorough
from harness.catalog import STORES_OF_GLANCE, WITH_KEYSTONE, running_catalog
from harness.glance import running_glance
from harness.keystone import Keystone

SOME = 6  # stories of the usual run
MANY = 1200  # of the long one
MANY_CALLS = 8_000  # in these


@pytest.fixture
def sides(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetadefSides]:
    callers = tuple(
        Caller({"X-Auth-Token": keystone.token(user)}, keystone.project_id(user)) for user in USERS
    )
    directory = tmp_path_factory.mktemp("catalog")
    more = (STORES_OF_GLANCE + WITH_KEYSTONE).format(directory=directory, keystone=keystone.url)
    with (
        running_glance(tmp_path_factory.mktemp("glance"), keystone) as glance,
        running_catalog(directory, more) as catalog,
    ):
        yield MetadefSides(glance.url, catalog.url, callers)


@pytest.mark.timeout(1800)  # shrinking takes longer than the stories
@settings(thorough, max_examples=SOME)
@given(story=metadef_stories(len(USERS)))
def test_stories_of_metadata_definitions(sides: MetadefSides, story: Story) -> None:
    sides.tell(story)


@pytest.mark.long
@pytest.mark.timeout(7200)
@settings(thorough, max_examples=MANY)
@given(story=metadef_stories(len(USERS)))
def test_many_stories_of_metadata_definitions(many: LongRun, story: Story) -> None:
    many.tell(story)


@pytest.fixture
def many(sides: MetadefSides) -> Iterator[LongRun]:
    run = LongRun(sides)
    yield run
    run.end("metadata definitions", MANY_CALLS)
