"""Places on the web that users name: no way through the catalog to what is beside it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from registry.config import Settings
from registry.fetching.options import FilterSettings

DATA = b"on the web" * 100
HERE, INSIDE = "127.0.0.1", "127.0.0.2"  # the one is allowed, the other as local as any


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(
        settings,
        web=FilterSettings(allowed_hosts=(HERE,), allowed_ports=()),
        background=replace(settings.background, do_secure_hash=False),
    )


class Origin:
    """A web server that sends data, or elsewhere."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.target: str | None = None

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.method)
        if self.target is not None and request.path != "/data":
            return web.Response(status=302, headers={"Location": self.target})
        return web.Response(body=DATA)


async def serving(address: str) -> AsyncIterator[Origin]:
    origin = Origin()
    runner = web.ServerRunner(web.Server(origin))
    await runner.setup()
    await web.TCPSite(runner, address, 0).start()
    origin.url = f"http://{address}:{runner.addresses[0][1]}"
    yield origin
    await runner.cleanup()


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async for each in serving(HERE):
        yield each


@pytest.fixture
async def inside() -> AsyncIterator[Origin]:
    async for each in serving(INSIDE):
        yield each


async def add(client: Any, url: str) -> tuple[str, Any]:
    image = await client.create()
    return image, await client.call("POST", f"/{image}/locations", json={"url": url})


async def test_redirections_to_what_may_be_read(client: Any, origin: Origin) -> None:
    origin.target = "/data"
    image, answer = await add(client, f"{origin.url}/image")
    assert answer.status == 202, answer.text
    assert (await client.download(image)).body == DATA


async def test_no_redirection_inside(client: Any, origin: Origin, inside: Origin) -> None:
    origin.target = f"{inside.url}/secret"
    image, answer = await add(client, f"{origin.url}/image")
    assert answer.status == 400
    assert origin.asked
    assert (await client.show(image))["status"] == "queued"
    assert inside.asked == []


async def test_none_later_either(client: Any, origin: Origin, inside: Origin) -> None:
    image, answer = await add(client, f"{origin.url}/image")
    assert answer.status == 202, answer.text
    origin.target = f"{inside.url}/secret"
    assert (await client.download(image)).status == 503
    assert inside.asked == []
    origin.target = None
    assert (await client.download(image)).body == DATA


async def test_nobody_learns_what_listens(client: Any, origin: Origin, inside: Origin) -> None:
    """All that cannot be read is refused with the same words."""
    with socket.socket() as closed:  # bound, but does not listen
        closed.bind((HERE, 0))
        texts = set()
        for target in (
            f"http://{HERE}:{closed.getsockname()[1]}/",
            f"{inside.url}/secret",
            "file:///etc/passwd",
            "/circle",
        ):
            origin.target = target
            _, answer = await add(client, f"{origin.url}/image")
            assert answer.status == 400
            texts.add(answer.text)
        _, answer = await add(client, f"http://{HERE}:{closed.getsockname()[1]}/")
        texts.add(answer.text)
    assert len(texts) == 1
