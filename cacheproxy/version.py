"""Which version of the program this is."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Return the version; reads files."""
    try:
        return metadata.version("cacheproxy")
    except metadata.PackageNotFoundError:
        return "(not installed)"
