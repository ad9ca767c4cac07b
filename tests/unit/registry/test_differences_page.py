"""docs/differences-catalog.md is the list that the comparison with Glance uses."""

from __future__ import annotations

import re

from differential.differences import PAGE, page


def test_the_page_is_the_generated_one() -> None:
    assert PAGE.read_text() == page(), "run: PYTHONPATH=.:tests python -m differential.differences"


def test_what_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", page())
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
