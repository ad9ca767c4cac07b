"""Reading the configuration again while everything runs."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cacheproxy.config import Settings
from cacheproxy.option import Section
from cacheproxy.options import load
from cacheproxy.sections import SECTIONS

LIVE = frozenset({("cache", "image_cache_size"), ("cache", "project_share")})

log = logging.getLogger(__name__)


def reread(files: Sequence[Path], current: Settings) -> Settings:
    """Return the current settings with what may change at run time as the files say now.

    What would need a new start is logged by name and left as it is.  ConfigError says what is wrong
    with a file.
    """
    written = load(files)
    cache = current.cache
    for section in SECTIONS:
        before, after = _part(current, section), _part(written, section)
        for option in section.options:
            value = getattr(after, option.target)
            if value == getattr(before, option.target):
                continue
            if (section.name, option.name) in LIVE:
                cache = dataclasses.replace(cache, **{option.target: value})
            else:
                log.warning(
                    "[%s] %s has changed: it takes effect at the next start",
                    *(section.name, option.name),
                )
    return dataclasses.replace(current, cache=cache)


def _part(settings: Settings, section: Section) -> Any:
    return settings if section.name == "DEFAULT" else getattr(settings, section.name)
