"""The kinds of the jobs that import.

What comes from outside is as slow as its source is, and anybody may name a source: such imports have
places of their own, so that staged data and copies never wait for them, and no project has them all.
"""

from __future__ import annotations

from registry.domain.importing import GLANCE, WEB

IMPORT = "import"
OUTSIDE = "import-outside"
KINDS = (IMPORT, OUTSIDE)
OUTSIDE_AT_ONCE = 20  # in one instance
OF_A_PROJECT = 10  # of them; as many as Glance does of all


def kind_of(method: str) -> str:
    """Return the kind of the job that an import by this method is."""
    return OUTSIDE if method in {WEB, GLANCE} else IMPORT
