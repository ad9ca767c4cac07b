"""TLS to the upstream: who is believed, what is shown, and which files cannot be used."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cacheproxy import startchecks
from cacheproxy.config import UpstreamSettings
from cacheproxy.connections import UpstreamNotReachedError
from cacheproxy.errors import ConfigError, UpstreamUnreachableError
from cacheproxy.meter import Board
from cacheproxy.upstream import Upstream
from cacheproxy.upstream_tls import upstream_context
from harness.authority import Authority
from harness.raw_origin import RawOrigin, always, raw_origin

WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell"
HTTPS = UpstreamSettings("https://glance.example")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[RawOrigin]:
    async with raw_origin(always(WELL), tls=context) as origin:
        yield origin


async def ask(settings: UpstreamSettings) -> int:
    """Ask once, and return the status."""
    client = Upstream(settings, Board.create(1).meter(0))
    try:
        async with client.exchange("GET", "/v2/images", []) as answer:
            while await answer.piece():
                pass
            return answer.status
    finally:
        await client.close()


async def test_an_upstream_of_a_trusted_authority(authority: Authority) -> None:
    async with serving(authority.server()) as origin:
        assert await ask(UpstreamSettings(origin.url, cafile=authority.cafile)) == 200


@pytest.mark.parametrize("fault", ["unknown authority", "other authority", "expired", "other name"])
async def test_who_cannot_be_believed_is_sent_nothing(
    authority: Authority, tmp_path: Path, fault: str
) -> None:
    cafile = None if fault == "unknown authority" else authority.cafile
    context = authority.server()
    match fault:
        case "other authority":
            cafile = Authority(tmp_path, "other").cafile
        case "expired":
            context = authority.server(expired=True)
        case "other name":
            context = authority.server("glance.example")
        case _:
            assert fault == "unknown authority"
    async with serving(context) as origin:
        settings = UpstreamSettings(origin.url, cafile=cafile)
        with pytest.raises(UpstreamNotReachedError, match="certificate verify failed"):
            await ask(settings)
        assert origin.heads == []
        assert await ask(dataclasses.replace(settings, insecure=True)) == 200


async def test_an_upstream_that_asks_for_a_certificate(authority: Authority) -> None:
    certificate, key = await asyncio.to_thread(authority.files, "node1.example")
    async with serving(authority.server(asks_for=authority)) as origin:
        settings = UpstreamSettings(origin.url, cafile=authority.cafile)
        with pytest.raises(UpstreamUnreachableError):
            await ask(settings)
        assert origin.heads == []
        shown = dataclasses.replace(settings, certfile=certificate, keyfile=key)
        assert await ask(shown) == 200
        both = await asyncio.to_thread(authority.together, "node1.example")
        assert await ask(dataclasses.replace(settings, certfile=both)) == 200


async def test_a_certificate_of_somebody_else_is_not_enough(
    authority: Authority, tmp_path: Path
) -> None:
    other = await asyncio.to_thread(Authority, tmp_path, "other")
    certificate, key = await asyncio.to_thread(other.files, "node1.example")
    async with serving(authority.server(asks_for=authority)) as origin:
        settings = UpstreamSettings(
            origin.url, cafile=authority.cafile, certfile=certificate, keyfile=key
        )
        with pytest.raises(UpstreamUnreachableError):
            await ask(settings)
        assert origin.heads == []


async def test_the_next_url_is_asked_instead_of_one_that_cannot_be_believed(
    authority: Authority,
) -> None:
    async with serving(authority.server(expired=True)) as bad, serving(authority.server()) as good:
        settings = UpstreamSettings(f"{bad.url}, {good.url}", cafile=authority.cafile)
        assert await ask(settings) == 200
        assert len(good.heads) == 1


# At the start.


@pytest.mark.parametrize("option", ["cafile", "certfile", "keyfile"])
def test_files_that_cannot_be_read_are_named(
    authority: Authority, tmp_path: Path, option: str
) -> None:
    certificate, key = authority.files("node1.example")
    settings = dataclasses.replace(
        HTTPS, cafile=authority.cafile, certfile=certificate, keyfile=key
    )
    for path, told in (
        (tmp_path / "absent.pem", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        changed = {
            "cafile": dataclasses.replace(settings, cafile=path),
            "certfile": dataclasses.replace(settings, certfile=path),
            "keyfile": dataclasses.replace(settings, keyfile=path),
        }
        with pytest.raises(ConfigError) as caught:
            upstream_context(changed[option])
        assert str(caught.value) == f"[upstream] {option} = {path}: cannot be read: {told}"


def test_files_that_hold_something_else_are_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.files("node1.example")
    _, other = authority.files("node2.example")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for settings, told in (
        (dataclasses.replace(HTTPS, cafile=empty), "cafile"),
        (dataclasses.replace(HTTPS, certfile=empty), "certfile"),
        (dataclasses.replace(HTTPS, certfile=certificate), "certfile"),
        (dataclasses.replace(HTTPS, certfile=certificate, keyfile=other), "certfile"),
        (dataclasses.replace(HTTPS, keyfile=key), "keyfile"),
    ):
        with pytest.raises(ConfigError, match=rf"\[upstream\] {told}"):
            upstream_context(settings)


def test_a_key_with_a_passphrase_is_refused_without_a_question(
    authority: Authority, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415  only here

    certificate, plain = authority.files("node1.example")
    key = forms.load_pem_private_key(plain.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            forms.Encoding.PEM,
            forms.PrivateFormat.PKCS8,
            forms.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="without a passphrase"):
        upstream_context(dataclasses.replace(HTTPS, certfile=certificate, keyfile=locked))


def test_without_an_https_url_nothing_is_read() -> None:
    settings = UpstreamSettings("http://glance.example", cafile=Path("/nowhere"))
    assert upstream_context(settings) is None


def test_the_start_warns_of_what_is_not_safe(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startchecks, "_check_url", lambda _url, _context: None)
    startchecks.check_upstream(HTTPS)
    assert caplog.messages == []
    startchecks.check_upstream(dataclasses.replace(HTTPS, insecure=True))
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warning.startswith("[upstream] insecure = true: ")
