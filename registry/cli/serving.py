"""`serve`."""

from __future__ import annotations

import argparse

from registry.app import serve as serve_requests
from registry.config import Settings, load_stores


async def serve(options: argparse.Namespace, settings: Settings) -> int:
    """Answer requests until SIGTERM."""
    await serve_requests(settings, load_stores(options.config_file))
    return 0
