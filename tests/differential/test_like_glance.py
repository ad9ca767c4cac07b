"""Generated stories, told to Glance and to the catalog: the same answers, call by call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from differential.call import Caller
from differential.long_run import LongRun
from differential.oddities import oddities
from differential.sides import Sides
from differential.stories import Story, stories
from harness.catalog import STORES_OF_GLANCE, WITH_KEYSTONE, running_catalog
from harness.glance import IMPORT, FileServer, running_glance, running_open_glance
from harness.keystone import ADMIN, MEMBER, READER, STRANGER, Keystone

SOME = 10  # stories of the usual run
MANY = 1000  # of the long one
MANY_CALLS = 10_000  # in these

# Nobody logs in, so everybody is the administrator; the projects are names.
EVERYBODY = (Caller({}, "p1"), Caller({}, "p2"))
USERS = (ADMIN, MEMBER, STRANGER, READER)

thorough = settings(
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)


@pytest.fixture
def open_sides(files: FileServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """Run both afresh: lists would show what other tests have left."""
    directory = tmp_path_factory.mktemp("catalog")
    with (
        running_open_glance(tmp_path_factory.mktemp("glance")) as glance,
        running_catalog(
            directory, STORES_OF_GLANCE.format(directory=directory) + IMPORT
        ) as catalog,
    ):
        yield Sides(glance.url, catalog.url, EVERYBODY, files.url)


@pytest.fixture
def sides(
    files: FileServer, keystone: Keystone, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sides]:
    """Run both afresh, for the users of one Keystone."""
    callers = tuple(
        Caller({"X-Auth-Token": keystone.token(user)}, keystone.project_id(user)) for user in USERS
    )
    directory = tmp_path_factory.mktemp("catalog")
    more = (STORES_OF_GLANCE + WITH_KEYSTONE).format(directory=directory, keystone=keystone.url)
    more += IMPORT
    with (
        running_glance(tmp_path_factory.mktemp("glance"), keystone) as glance,
        running_catalog(directory, more) as catalog,
    ):
        yield Sides(glance.url, catalog.url, callers, files.url)


@pytest.mark.timeout(1800)  # shrinking takes longer than the stories
@settings(thorough, max_examples=SOME)
@given(story=stories(len(EVERYBODY)))
def test_stories_of_administrators(open_sides: Sides, story: Story) -> None:
    open_sides.tell(story)


@pytest.mark.timeout(1800)  # shrinking takes longer than the stories
@settings(thorough, max_examples=SOME)
@given(story=stories(len(USERS)))
def test_stories_of_several_users(sides: Sides, story: Story) -> None:
    sides.tell(story)


def test_oddities(sides: Sides) -> None:
    partings = []
    for story in oddities():
        try:
            sides.tell(story)
        except AssertionError as parted:
            partings.append(str(parted))
    assert not partings, "\n".join(partings)


@pytest.mark.long
@pytest.mark.timeout(7200)
@settings(thorough, max_examples=MANY)
@given(story=stories(len(EVERYBODY)))
def test_many_stories_of_administrators(many_of_administrators: LongRun, story: Story) -> None:
    many_of_administrators.tell(story)


@pytest.mark.long
@pytest.mark.timeout(7200)
@settings(thorough, max_examples=MANY)
@given(story=stories(len(USERS)))
def test_many_stories_of_several_users(many_of_several_users: LongRun, story: Story) -> None:
    many_of_several_users.tell(story)


@pytest.fixture
def many_of_administrators(open_sides: Sides) -> Iterator[LongRun]:
    run = LongRun(open_sides)
    yield run
    run.end("administrators", MANY_CALLS)


@pytest.fixture
def many_of_several_users(sides: Sides) -> Iterator[LongRun]:
    run = LongRun(sides)
    yield run
    run.end("several users", MANY_CALLS)
