"""Products of parameters: every value once in each run, every combination in long runs."""

from __future__ import annotations

from collections.abc import Collection
from itertools import product
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def paired(*sides: Collection[Any]) -> list[ParameterSet]:
    """Return all combinations, of which those are marked as long that bring no value of their own.

    For values that do not depend on one another: the longest side's each meet one of the others'.
    """
    values = [tuple(side) for side in sides]
    longest = max(map(len, values))
    kept = {tuple(side[n % len(side)] for side in values) for n in range(longest)}
    return [
        pytest.param(*each, marks=() if each in kept else pytest.mark.long)
        for each in product(*values)
    ]
