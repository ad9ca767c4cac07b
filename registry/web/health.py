"""What those ask who send requests here, and those who restart what does not answer."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from aiohttp import hdrs, web

from registry.service.readiness import Readiness
from registry.web.bodies import json_response
from registry.web.progress import Progress

WATCHED_SECONDS = 60.0  # after a question: whoever asks more rarely is not waited for

DRAINING = "DRAINING"
DISABLED = "DISABLED BY FILE"  # oslo.middleware's words


class HealthHandlers:
    """`/healthcheck`, as oslo.middleware answers it, and `/healthcheck/live`."""

    def __init__(self, readiness: Readiness, progress: Progress, file: Path | None) -> None:
        """`file`, where it is there, takes the instance out."""
        self._readiness = readiness
        self._progress = progress
        self._file = file
        self._asked = -WATCHED_SECONDS

    @property
    def is_watched(self) -> bool:
        """Whether somebody asks, who would learn that the service is to stop."""
        return time.monotonic() - self._asked < WATCHED_SECONDS

    async def ready(self, request: web.Request) -> web.Response:
        """GET /healthcheck, and any other method: 503 if no requests are to be sent here."""
        self._asked = time.monotonic()
        hindrance = await self._hindrance()
        if request.method == hdrs.METH_HEAD:
            return web.Response(status=503 if hindrance else 204)
        status, reason = (503, hindrance) if hindrance else (200, "OK")
        if _wants_json(request):
            return json_response({"detailed": False, "reasons": [reason]}, status=status)
        return web.Response(text=reason, status=status)

    async def live(self, _request: web.Request) -> web.Response:
        """GET /healthcheck/live, and any other method: the process answers, whatever becomes of requests."""
        return web.Response(text="OK")

    async def _hindrance(self) -> str | None:
        if self._progress.closing:
            return DRAINING
        if self._file is not None and await asyncio.to_thread(_is_there, self._file):
            return DISABLED
        return self._readiness.hindrance


def _wants_json(request: web.Request) -> bool:
    """Tell whether a client takes JSON and would not rather have plain text, as oslo.middleware does."""
    accept = request.headers.get(hdrs.ACCEPT, "")
    return "application/json" in accept and not ("text/" in accept or "*/*" in accept)


def _is_there(file: Path) -> bool:
    """Look for a file; in a directory that is closed to the service (Glance's own, perhaps) is none."""
    try:
        file.stat()
    except OSError:
        return False
    return True
