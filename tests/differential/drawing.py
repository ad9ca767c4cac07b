"""What values of calls are drawn from, and values that several kinds of calls have."""

from __future__ import annotations

from typing import Any, TypeAlias

from hypothesis import strategies as st

from differential.call import Call

Values: TypeAlias = st.SearchStrategy[Any]

IMAGES = 4  # of one story
LONG = "n" * 255


def one(*values: Any) -> Values:
    """Return any of these."""
    return st.sampled_from(values)


def mostly(good: Values, odd: Values) -> Values:
    """Return seldom what is odd: most stories should go on."""
    return st.integers(0, 9).flatmap(lambda number: good if number else odd)


TAGS = mostly(one("a", "b", "x y", "ü", "a,b", "A"), one("", LONG, LONG + "n", "a/b", " a "))
IMAGE = mostly(st.integers(0, IMAGES - 1).map(lambda number: f"{{{number}}}"), one("{absent}", "x"))


def about(method: str, path: Values, document: Values | None = None) -> st.SearchStrategy[Call]:
    """Calls about an image: `path` is what follows its id."""
    return st.builds(
        lambda image, rest, document: Call(method, f"/images/{image}{rest}", document=document),
        IMAGE,
        path,
        st.none() if document is None else document,
    )
