"""Generated stories, told to Glance and to the catalog: the same answers, call by call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from differential.call import Caller
from differential.sides import Sides
from differential.stories import Story, stories
from harness.catalog import running_catalog
from harness.glance import running_open_glance
from harness.results import note

SOME = 40  # stories of the usual run
MANY = 2500  # of the long one
MANY_CALLS = 20_000  # in these

# Nobody logs in, so everybody is the administrator; the projects are names.
EVERYBODY = (Caller({}, "p1"), Caller({}, "p2"))

# The stores of that Glance.
STORES = """
[DEFAULT]
enabled_backends = fast:file,web:http
show_multiple_locations = true
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {directory}/fast
"""

thorough = settings(
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)


@pytest.fixture
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """Run both afresh: lists would show what other tests have left."""
    directory = tmp_path_factory.mktemp("catalog")
    with (
        running_open_glance(tmp_path_factory.mktemp("glance")) as glance,
        running_catalog(directory, STORES.format(directory=directory)) as catalog,
    ):
        yield Sides(glance.url, catalog.url, EVERYBODY)


@settings(thorough, max_examples=SOME)
@given(story=stories(len(EVERYBODY)))
def test_the_same_stories(sides: Sides, story: Story) -> None:
    sides.tell(story)


@pytest.fixture
def many_were_told(sides: Sides) -> Iterator[None]:
    """See that it was as much as it is said to be, and keep the figures."""
    yield
    assert sides.calls >= MANY_CALLS
    note(
        "differential",
        "like glance",
        {"stories": sides.stories, "calls": sides.calls, "explained": dict(sides.explained)},
    )


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("many_were_told")
@settings(thorough, max_examples=MANY)
@given(story=stories(len(EVERYBODY)))
def test_the_same_stories_for_long(sides: Sides, story: Story) -> None:
    sides.tell(story)
