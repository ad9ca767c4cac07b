"""docs/image-data.md tells of every option that there is for the data of images."""

from __future__ import annotations

import re

from harness.program import REPOSITORY
from registry.inspection.options import INSPECTION_OPTIONS
from registry.plugins.options import PLUGIN_SECTIONS, PLUGINS
from registry.signatures.options import CASTELLAN_SECTIONS

PAGE = (REPOSITORY / "docs/image-data.md").read_text()


def test_every_option_is_told_of() -> None:
    named = set(re.findall(r"[a-z_]+", PAGE))
    assert {option.name for option in INSPECTION_OPTIONS} <= named
    assert {option.name for options in PLUGIN_SECTIONS.values() for option in options} <= named
    assert {*PLUGINS, *CASTELLAN_SECTIONS} - {"no_op"} <= named


def test_defaults_are_told() -> None:
    for option in INSPECTION_OPTIONS:
        default = option.default
        shown = ",".join(default) if isinstance(default, list) else str(default).lower()
        cell = f"`{shown}`" if shown else ""
        assert re.search(rf"\| `{option.name}` \| {re.escape(cell)} ?\|", PAGE), option.name
