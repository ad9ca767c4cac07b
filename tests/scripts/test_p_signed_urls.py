"""URLs that read one image without a token: given, used, refused, renewed; in no log, never sent on."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.authority import Authority
from harness.clients import client
from harness.http import Answer, ask
from harness.images import random_bytes
from harness.node import Node, async_node
from harness.origin import Origin, OriginImage, origin
from harness.program import REPOSITORY
from harness.story import READY, STARTED, figure
from harness.waiting import until

DATA = random_bytes(2_500_000, seed=11)
TOKEN = "a-token-that-is-in-no-log"
SIGNED_URLS = "[signed_urls]\nenabled = true\n"
ASK_EVERY_TIME = "[upstream]\npermission_seconds = 0\n"


@dataclass(frozen=True, slots=True)
class Signing:
    """A node that gives signed URLs, and the origin behind it."""

    glance: Origin
    node: Node

    async def ask(self, method: str, url: str, **more: Any) -> Answer:
        """Send one request; a path is one of the node's."""
        url = url if url.startswith("http") else self.node.url + url
        return await asyncio.to_thread(ask, method, url, **more)

    async def sign(self, image: OriginImage, token: str | None = TOKEN, **body: Any) -> Answer:
        """Ask for a URL, or the renewal of one."""
        headers = {} if token is None else {"X-Auth-Token": token}
        path = f"/cacheproxy/v1/images/{image.id}/url"
        return await self.ask("POST", path, headers=headers, document=body or None)

    async def url(self, image: OriginImage, token: str | None = TOKEN, **body: Any) -> str:
        """Ask for a URL, and get one."""
        return str((await self.sign(image, token, **body)).expect(200, 201).json()["url"])

    def pid(self, name: str) -> int:
        """Return the latest process of the keeper or `worker N`."""
        return int(dict(STARTED.findall(self.node.program.log.read_text()))[name])

    async def counts(self) -> dict[str, float]:
        """Return the requests with signed URLs, by what became of them."""
        samples = await asyncio.to_thread(self.node.metrics)
        found = re.compile(r'cacheproxy_signed_requests_total{result="(\w+)"}')
        return {
            match[1]: value
            for name, value in samples.items()
            if value and (match := found.fullmatch(name))
        }


@asynccontextmanager
async def signing(directory: Path, more: str = "", workers: int = 1) -> AsyncIterator[Signing]:
    """Run it; afterwards no log holds a token or a signature, and the origin got none of the latter."""
    async with origin() as glance:
        running = async_node(directory, glance.url, more=SIGNED_URLS + more, workers=workers)
        async with running as node:
            log = node.program.log
            await asyncio.to_thread(until, "all processes", lambda: READY in log.read_text())
            yield Signing(glance, node)
        text = log.read_text()
        assert "/file?…" in text, "nothing was used"
        assert TOKEN not in text
        assert "grant" not in text.replace("/cacheproxy/v1", "")
        assert "Traceback" not in text
        assert "never retrieved" not in text
        assert not [head for head in glance.raw.heads if "cacheproxy/v1" in head.target]
        assert not [head for head in glance.raw.heads if "grant=" in repr(head)]


def changed(url: str, part: int, text: str) -> str:
    """Return a URL with another part of its grant."""
    start, _, grant = url.partition("?grant=")
    parts = grant.split(".")
    parts[part] = text
    return f"{start}?grant={'.'.join(parts)}"


@pytest.mark.parametrize("workers", [1, 3])
async def test_an_image_without_a_token(tmp_path: Path, workers: int) -> None:
    async with signing(tmp_path, workers=workers) as at:
        image = at.glance.add(DATA, tokens={TOKEN})
        answer = (await at.sign(image, lifetime=600)).expect(201)
        told = answer.json()
        assert answer.headers["cache-control"] == "no-store"
        assert told["url"].startswith(f"{at.node.url}/cacheproxy/v1/images/{image.id}/file?grant=")
        assert told["ends_with_token"]
        assert told["renewal"]["body"] == {"url": told["url"]}
        for _ in range(4):
            assert (await at.ask("GET", told["url"])).expect(200).body == DATA
        head = (await at.ask("HEAD", told["url"])).expect(200)
        assert head.headers["accept-ranges"] == "bytes"
        assert head.headers["content-length"] == str(len(DATA))
        tag = head.headers["etag"]
        for wanted, start, stop in (("0-0", 0, 1), ("1048570-2000000", 1048570, 2000001)):
            headers = {"Range": f"bytes={wanted}", "If-Range": tag}
            part = (await at.ask("GET", told["url"], headers=headers)).expect(206)
            assert part.body == DATA[start:stop]
            assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
        headers = {"If-None-Match": tag}
        (await at.ask("GET", told["url"], headers=headers)).expect(304)
        (await at.ask("GET", told["url"], headers={"Range": "bytes=9999999-"})).expect(416)
        assert image.sent_bytes == len(DATA)
        assert await at.counts() == {"accepted": 9}
        line = re.compile(rf'"(\w+) /cacheproxy/v1/images/{image.id}/file\?…" (\d+) (\d+)')
        expected = {("GET", "200", str(len(DATA))), ("GET", "206", "1"), ("HEAD", "200", "0")}
        log = at.node.program.log  # written behind the answers
        await asyncio.to_thread(
            until, "the log", lambda: expected <= set(line.findall(log.read_text()))
        )
        files = {path.name: path for path in (at.node.cache / "signed-urls").iterdir()}
        assert files["keys"].stat().st_mode & 0o777 == 0o600
        assert files["keys"].parent.stat().st_mode & 0o777 == 0o700


async def test_whose_token_is_not_enough_gets_none(tmp_path: Path) -> None:
    async with signing(tmp_path, more=ASK_EVERY_TIME) as at:
        image = at.glance.add(DATA, tokens={TOKEN})
        url = await at.url(image)
        for refusal in (401, 403, 404):
            image.refusal = refusal
            refused = (await at.sign(image, "another")).expect(refusal)
            assert (b"token" in refused.body) == (refusal == 401)
        (await at.sign(image, None)).expect(401)
        image.tokens = None
        image.question_status = 500  # an image without data
        (await at.sign(image)).expect(409)
        image.question_status = 503
        (await at.sign(image)).expect(503)
        image.question_status = 416
        gone = OriginImage("not-there", image.content, {})
        (await at.sign(gone)).expect(404)
        (await at.ask("GET", url)).expect(200)
        samples = await asyncio.to_thread(at.node.metrics)
        assert figure(samples, "signed_urls_total", result="refused") == 7
        assert figure(samples, "signed_urls_total", result="given") == 1


async def test_what_is_altered_is_refused(tmp_path: Path) -> None:
    async with signing(tmp_path) as at:
        image, other = (at.glance.add(data, tokens={TOKEN}) for data in (DATA, DATA[:-1]))
        url = await at.url(image)
        (await at.ask("GET", url)).expect(200)
        last = "B" if url[-10] == "A" else "A"
        for wrong in (
            url.replace(image.id, other.id),
            changed(url, 3, "99999999999"),  # its end
            changed(url, 2, "1"),  # its beginning
            changed(url, 5, "a-project"),
            changed(url, 1, "0" * 16),  # its key
            url[:-10] + last + url[-9:],
        ):
            refused = (await at.ask("GET", wrong, headers={"X-Auth-Token": TOKEN})).expect(403)
            assert b"not signed here" in refused.body
            (await at.ask("HEAD", wrong)).expect(403)
        for cut in (url[:-1], url.partition("?")[0], changed(url, 0, "2"), url + "%00"):
            (await at.ask("GET", cut, headers={"X-Auth-Token": TOKEN})).expect(400)
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            wrong_method = (await at.ask(method, url)).expect(405)
            assert wrong_method.headers["allow"] == "GET, HEAD"
        (await at.ask("GET", url, body=b"a body")).expect(400)
        for path in (
            "/cacheproxy",
            "/cacheproxy/v2/x",
            "//cacheproxy/v1",
            "/%63acheproxy/?grant=1",
        ):
            (await at.ask("GET", path)).expect(404)
        assert await at.counts() == {"accepted": 1, "signature": 12, "malformed": 5}


async def test_a_wish_that_cannot_be_met(tmp_path: Path) -> None:
    async with signing(tmp_path, more="lifetime_seconds_max = 60\nlifetime_seconds = 99\n") as at:
        image = at.glance.add(DATA)
        url = await at.url(image)  # for 60 seconds
        (await at.ask("GET", url)).expect(200)
        path = f"/cacheproxy/v1/images/{image.id}/url"
        for body in (b"[", b'{"lifetime": 61}', b'{"lifetime": 0}', b'{"lifetimes": 1}', b"1"):
            (await at.ask("POST", path, body=body)).expect(400)
        (await at.ask("POST", path, body=b" " * 20_000)).expect(413)
        (await at.ask("GET", path)).expect(405)
        (await at.ask("POST", path, headers={"Host": "a b"})).expect(400)
        for no_url in ("http://elsewhere/", url[:-1]):
            (await at.sign(image, url=no_url)).expect(400)


async def test_it_ends_when_it_expires_and_goes_on_when_it_is_renewed(tmp_path: Path) -> None:
    async with signing(tmp_path, workers=2) as at:
        image = at.glance.add(DATA, tokens={TOKEN})
        url = await at.url(image, lifetime=1)

        def expired() -> bool:
            return ask("GET", url).status == 403

        await asyncio.to_thread(until, "the URL to expire", expired)
        refused = await at.ask("GET", url)
        assert b"expired" in refused.body
        assert b"renew" in refused.body
        (await at.sign(image, "another", url=url)).expect(403)
        renewed = (await at.sign(image, url=url, lifetime=600)).expect(200).json()
        assert renewed["url"] == url
        for _ in range(4):
            assert (await at.ask("GET", url)).expect(200).body == DATA
        counts = await at.counts()
        assert counts["accepted"] >= 4
        assert counts["expired"] >= 2


async def test_the_right_is_asked_again(tmp_path: Path) -> None:
    async with signing(tmp_path, more=ASK_EVERY_TIME) as at:
        image = at.glance.add(DATA, tokens={TOKEN})
        url = await at.url(image)
        (await at.ask("GET", url)).expect(200)
        image.question_status = 403  # deactivated
        refused = (await at.ask("GET", url)).expect(403)
        assert b"does not let" in refused.body
        image.question_status = 416
        assert (await at.ask("GET", url)).expect(200).body == DATA
        image.question_status = 503
        away = (await at.ask("GET", url)).expect(503)
        assert "retry-after" in away.headers
        image.question_status = 416
        image.tokens, image.refusal = set(), 401  # the token has ended
        ended = (await at.ask("GET", url)).expect(403)
        assert b"token" in ended.body
        image.tokens = {"another token"}
        (await at.ask("GET", url)).expect(403)
        (await at.sign(image, "another token", url=url)).expect(200)
        assert (await at.ask("GET", url)).expect(200).body == DATA
        assert await at.counts() == {"accepted": 3, "refused": 1, "unavailable": 1, "token": 2}
        assert image.sent_bytes == len(DATA)


async def test_an_image_that_is_not_for_the_cache(tmp_path: Path) -> None:
    """Passed through with the token, without the signature."""
    async with signing(tmp_path) as at:
        image = at.glance.add(DATA, tokens={TOKEN}, show_status=403)  # its record is not shown
        url = await at.url(image)
        answer = await at.ask("GET", url, headers={"X-Auth-Token": "another", "X-Roles": "admin"})
        assert answer.expect(200).body == DATA
        part = await at.ask("GET", url, headers={"Range": "bytes=5-9"})
        assert part.expect(206).body == DATA[5:10]
        assert not [head for head in at.glance.raw.heads if head.one("x-roles")]


async def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    async with signing(tmp_path) as at:
        image = at.glance.add(DATA, tokens={TOKEN})
        url = await at.url(image)
        (await at.ask("GET", url)).expect(200)
        key = at.node.cache / "signed-urls/keys"
        key.chmod(0o640)
        refused = (await at.sign(image)).expect(503)
        assert b"chmod 600" in refused.body
        key.chmod(0o600)
        (await at.sign(image)).expect(201)


async def test_after_a_restart(tmp_path: Path) -> None:
    """The keys have stayed, the token is gone: a renewal brings the same URL back."""
    async with origin() as glance:
        image = glance.add(DATA, tokens={TOKEN})
        async with async_node(tmp_path, glance.url, more=SIGNED_URLS) as node:
            at = Signing(glance, node)
            url = await at.url(image)
            query = url.partition("/cacheproxy")[2]
        async with async_node(tmp_path, glance.url, more=SIGNED_URLS) as node:
            at = Signing(glance, node)
            url = f"{node.url}/cacheproxy{query}"
            refused = (await at.ask("GET", url)).expect(403)
            assert b"[service_user]" in refused.body
            (await at.sign(image, url=url)).expect(200)
            assert (await at.ask("GET", url)).expect(200).body == DATA
            (node.cache / "signed-urls/keys").unlink()
        async with async_node(tmp_path, glance.url, more=SIGNED_URLS) as node:
            at = Signing(glance, node)
            old = f"{node.url}/cacheproxy{query}"
            (await at.sign(image, url=old)).expect(200)  # renewed ones outlive their key
            new = await at.url(image)
            (await at.ask("GET", new)).expect(200)
            (await at.ask("GET", old)).expect(200)


async def test_processes_are_lost(tmp_path: Path) -> None:
    """Without the keeper it goes on; a worker's successor does not know the token any more."""
    async with signing(tmp_path) as at:
        image = at.glance.add(DATA, tokens={TOKEN})
        url = await at.url(image)
        assert (await at.ask("GET", url)).expect(200).body == DATA
        keeper, worker = at.pid("keeper"), at.pid("worker 0")
        os.kill(keeper, signal.SIGSTOP)
        try:
            cold = at.glance.add(DATA[1:], tokens={TOKEN})
            other = await at.url(cold)
            assert (await at.ask("GET", other)).expect(200).body == DATA[1:]
            headers = {"Range": "bytes=7-1000000"}
            part = await at.ask("GET", url, headers=headers)
            assert part.expect(206).body == DATA[7:1_000_001]
        finally:
            os.kill(keeper, signal.SIGCONT)
        os.kill(worker, signal.SIGKILL)
        await asyncio.to_thread(until, "another worker", lambda: at.pid("worker 0") != worker)
        assert b"renew" in (await at.ask("GET", url)).expect(403).body
        await at.url(image, url=url)
        assert (await at.ask("GET", url)).expect(200).body == DATA


async def test_a_url_that_was_quoted_is_not_logged(tmp_path: Path) -> None:
    async with signing(tmp_path) as at:
        image = at.glance.add(DATA)
        url = await at.url(image)
        (await at.ask("GET", url)).expect(200)
        for mangled in (
            url.replace("?", "%3F"),
            url.replace("/file?", "/file/?"),
            url.replace("?", "&"),
        ):
            (await at.ask("GET", mangled)).expect(404)
        log = at.node.program.log  # written behind the answers
        await asyncio.to_thread(
            until, "the log", lambda: log.read_text().count("GET /cacheproxy/…") == 3
        )


async def test_without_the_option_there_is_nothing(tmp_path: Path) -> None:
    async with origin() as glance, async_node(tmp_path, glance.url) as node:
        at = Signing(glance, node)
        image = glance.add(DATA)
        refused = (await at.sign(image)).expect(404)
        assert b"[signed_urls]" in refused.body
        (await at.ask("GET", f"/cacheproxy/v1/images/{image.id}/file?grant=x")).expect(404)
        assert not [head for head in glance.raw.heads if "cacheproxy/v1" in head.target]
        assert not (node.cache / "signed-urls").exists()


async def test_over_tls(tmp_path: Path) -> None:
    """The URL begins with https, for the program that asks for it, and for qemu."""
    authority = Authority(tmp_path)
    certificate = authority.together()
    certificate.chmod(0o600)
    more = f"[DEFAULT]\ncert_file = {certificate}\n"
    async with signing(tmp_path, more=more) as at:
        image = at.glance.add(DATA, tokens={TOKEN})
        environment = {"OS_TOKEN": TOKEN, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "cacheproxy", "url", "--config-file"]
        command += [str(tmp_path / "cacheproxy.conf"), image.id]
        told = await asyncio.to_thread(
            client, *command, environment={**environment, "SSL_CERT_FILE": str(authority.cafile)}
        )
        url = told.split()[0]
        secure = at.node.url.replace("http:", "https:")
        assert url.startswith(f"{secure}/cacheproxy/v1/images/{image.id}/file?grant=")
        file = {"driver": "https", "url": url, "timeout": 300, "sslverify": False}
        name = "json:" + json.dumps({"driver": "raw", "file": file})
        copy = tmp_path / "copy"
        await asyncio.to_thread(client, "qemu-img", "convert", "-m", "1", "-O", "raw", name, copy)
        assert copy.read_bytes()[: len(DATA)] == DATA
        with pytest.raises(AssertionError, match="ended with 3") as untrusting:
            await asyncio.to_thread(client, *command, environment=environment)
        assert TOKEN not in str(untrusting.value)
