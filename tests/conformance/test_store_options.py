"""The options of stores that we read are those that Glance has, under its names."""

from __future__ import annotations

from backends.configuration import KINDS
from backends.glance_options import OPTIONS_OF
from harness.services import python_of, run_tool

# A line for each kind of store.
GLANCES_OPTIONS = """
from glance_store import multi_backend
for kind, options in multi_backend._list_driver_opts().items():
    kind = kind.removeprefix("glance.store.").removesuffix(".Store")
    print(kind, *sorted(option.name for option in options))
"""


def test_options_are_named_as_glance_names_them() -> None:
    printed = run_tool(str(python_of("glance")), "-W", "ignore", "-c", GLANCES_OPTIONS)
    glances = {kind: set(names) for kind, *names in map(str.split, printed.splitlines())}
    ours = {kind: set(names) for kind, names in OPTIONS_OF.items()}
    assert ours == {kind: glances.get(kind, set()) for kind in ours}
    assert set(KINDS) <= set(OPTIONS_OF)
