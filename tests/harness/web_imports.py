"""Imports that tests ask for over HTTP, and a web server whose answers they choose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class WebOrigin:
    """A web server whose answers tests choose."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[web.BaseRequest], Any]] = {}

    def uri(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.path)
        answer = self.answers[request.path](request)
        answer = await answer if asyncio.iscoroutine(answer) else answer
        assert isinstance(answer, web.StreamResponse)
        return answer


@asynccontextmanager
async def web_origin() -> AsyncIterator[WebOrigin]:
    """Run one."""
    origin = WebOrigin()
    server = web.ServerRunner(web.Server(origin))
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    origin.port = server.addresses[0][1]
    try:
        yield origin
    finally:
        await server.cleanup()


async def begin(client: Any, image_id: str, method: str, **more: Any) -> Any:
    headers = {"X-Image-Meta-Store": more.pop("header")} if "header" in more else {}
    arguments = {name: more.pop(name) for name in list(more) if name == "uri"}
    body = {"method": {"name": method, **arguments}, **more}
    return await client.call("POST", f"/{image_id}/import", json=body, headers=headers)


async def ended(client: Any, image_id: str) -> Any:
    """Wait until no import holds the image; return its record."""
    async with asyncio.timeout(30):
        while "os_glance_import_task" in (image := await client.show(image_id)):
            pass
    return image
