"""`cacheproxy check-config`: whether a daemon would take this configuration."""

from __future__ import annotations

import sys
from argparse import Namespace

from cacheproxy.certificate import Shown
from cacheproxy.cli.manual import DEFAULT_FILE
from cacheproxy.errors import ConfigError
from cacheproxy.options import load
from cacheproxy.storefiles import stores_to_read


def run(arguments: Namespace) -> int:
    """Say so; the exit code (1: it would not)."""
    files = arguments.config_file or [DEFAULT_FILE]
    try:
        settings = load(files)
        Shown(settings)
        stores_to_read(settings.stores)
    except ConfigError as error:
        sys.stderr.write(f"cacheproxy: {error}\n")
        return 1
    sys.stdout.write(
        f"{', '.join(map(str, files))}: right; images at {settings.host}:{settings.port}"
        f" from {settings.upstream.url}\n"
    )
    return 0
