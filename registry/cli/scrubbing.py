"""`scrub`: the service's own scrubbing, at once."""

from __future__ import annotations

import argparse
import asyncio
import sys

from registry.background import opened_background
from registry.config import Settings, load_stores


async def scrub(options: argparse.Namespace, settings: Settings) -> int:
    """Delete what waits to be deleted, or make one image active again."""
    stores = await asyncio.to_thread(load_stores, options.config_file)
    async with opened_background(settings, stores) as work:
        if options.restore is not None:
            await work.scrubbing.restore(options.restore)
            sys.stdout.write(f"image {options.restore} is active again\n")
        else:
            sys.stdout.write(f"data is deleted from {await work.scrubbing.scrub()} places\n")
    return 0
