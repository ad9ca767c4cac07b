"""Who may download what: through the proxy the same as from the real Glance, whoever asks.

Callers by images by {nothing cached, cached, Glance away}: each answer through the proxy is held
against the one that Glance itself gives to the same request at the same time; when Glance is away,
against the documented rule (docs/authorisation.md).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from harness.catalog import Catalog
from harness.forwarder import forwarding
from harness.glance import Glance
from harness.http import Answer, ask
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, GLANCE, MEMBER, PARTNER, READER, STRANGER, Keystone, User
from harness.node import Node, async_node, running_node

SIZE = (1 << 20) + 4321  # two chunks
AT_ONCE = 4
ASK_ALWAYS = "[upstream]\npermission_seconds = 0\n"
LENIENT = ASK_ALWAYS + "on_upstream_failure = serve-recently-allowed\n"

# What differs from answer to answer, belongs to a connection, or is an addition of the proxy's.
VOLATILE = {"date", "server", "connection", "x-openstack-request-id", "accept-ranges", "etag"}
PATCH = "application/openstack-images-v2.1-json-patch"

Caller = dict[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """An image of a member's project: how it is made, and what becomes of it after a while."""

    visibility: str = "shared"
    hidden: bool = False
    partner: bool = False
    data: bool = True
    later: str = ""  # deactivated or deleted


CASES = {
    "public": Case("public"),
    "community": Case("community"),
    "shared": Case(partner=True),
    "private": Case("private"),
    "deactivated": Case(partner=True, later="deactivate"),
    "hidden": Case(partner=True, hidden=True),
    "deleted": Case(partner=True, later="delete"),
    "no data": Case(partner=True, data=False),
}


MEMBERS = ["public", "community", "shared", "private", "hidden"]
RIGHTFUL: dict[str, list[str]] = {
    "admin": ["public", "community", "shared", "private", "deactivated", "hidden"],
    "member": MEMBERS,
    "reader": [],
    "partner": ["public", "community", "shared", "hidden"],
    "stranger": ["public", "community"],
    "nobody": [],
    "expired": [],
    "revoked": [],
    "revoked, but Glance knew it": MEMBERS,  # it believes tokens for 300 s
    "expired, with a service token": MEMBERS,
    "expired, alone after that": [],
}


@dataclass
class Cloud:
    """Glance and its images, made on demand."""

    glance: Glance
    keystone: Keystone
    per_caller: bool  # an image of its own for each caller, so that each finds it as it is named
    made: dict[tuple[str, ...], str] = field(default_factory=dict)
    making: Lock = field(default_factory=Lock)  # Glance's SQLite takes one change at a time

    def api(self, user: User) -> ImagesApi:
        """Return Glance as this user sees it."""
        return ImagesApi(self.glance.url, {"X-Auth-Token": self.keystone.token(user)})

    def image(self, name: str, caller: str, phase: str, use: Callable[[str], None]) -> str:
        """Return an image as its case says; `use` is called before what happens to it later."""
        key = (name, phase, caller if self.per_caller else "")
        with self.making:
            if key not in self.made:
                self.made[key] = self._make(CASES[name], "/".join(key), use)
            return self.made[key]

    def _make(self, case: Case, name: str, use: Callable[[str], None]) -> str:
        member, admin = self.api(MEMBER), self.api(ADMIN)
        image = member.create(name=name, os_hidden=case.hidden)
        if case.data:
            member.upload(image, data_of(name))
        if case.visibility != "shared":
            change = [{"op": "replace", "path": "/visibility", "value": case.visibility}]
            headers = {"Content-Type": PATCH}
            admin.call("PATCH", f"/{image}", headers=headers, document=change).expect(200)
        if case.partner:
            partner = self.keystone.project_id(PARTNER)
            member.call("POST", f"/{image}/members", document={"member": partner}).expect(200)
            accepted = {"status": "accepted"}
            path = f"/{image}/members/{partner}"
            self.api(PARTNER).call("PUT", path, document=accepted).expect(200)
        use(image)
        if case.later == "deactivate":
            admin.call("POST", f"/{image}/actions/deactivate").expect(204)
        elif case.later == "delete":
            member.delete(image)
        return image


def nothing(image: str) -> None:
    """Do nothing with an image."""


def data_of(name: str) -> bytes:
    return random_bytes(SIZE, seed=int.from_bytes(hashlib.md5(name.encode()).digest()[:4]))


def callers(glance: Glance, keystone: Keystone) -> dict[str, Caller]:
    """Return who asks, in this order."""
    known, unknown = keystone.new_token(MEMBER), keystone.new_token(MEMBER)
    expired, renewed = keystone.expired_token(MEMBER), keystone.expired_token(MEMBER)
    ImagesApi(glance.url, {"X-Auth-Token": known}).call("GET", "").expect(200)
    for token in (known, unknown):
        keystone.revoke(token)
    users = {"admin": ADMIN, "member": MEMBER, "reader": READER}
    users |= {"partner": PARTNER, "stranger": STRANGER}
    tokens = {name: keystone.token(user) for name, user in users.items()}
    tokens |= {"expired": expired, "revoked": unknown, "revoked, but Glance knew it": known}
    return {name: {"X-Auth-Token": token} for name, token in tokens.items()} | {
        "nobody": {},
        "expired, with a service token": {
            "X-Auth-Token": renewed,
            "X-Service-Token": keystone.token(GLANCE),
        },
        "expired, alone after that": {"X-Auth-Token": renewed},
    }


def essence(answer: Answer) -> tuple[int, str, dict[str, str]]:
    """Return what must be equal."""
    kept = {name: value for name, value in answer.headers.items() if name not in VOLATILE}
    return answer.status, hashlib.sha256(answer.body).hexdigest(), kept


def download(url: str, image: str, caller: Caller, span: str | None) -> Answer:
    headers = caller if span is None else {**caller, "Range": span}
    return ask("GET", f"{url}/v2/images/{image}/file", headers=headers)


@dataclass
class Matrix:
    """The comparison; runs on the test's loop, asks in threads."""

    cloud: Cloud
    callers: dict[str, Caller]
    spans: tuple[str | None, ...]
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    compared: int = 0

    async def compare(self, phase: str, node: Node, warm: Callable[[str], None]) -> None:
        """Hold every answer through the node against Glance's own."""
        for caller in self.callers:
            rows = (self._in_turn(self._compare, phase, node, caller, name, warm) for name in CASES)
            await asyncio.gather(*rows)

    def _compare(
        self, phase: str, node: Node, caller: str, name: str, warm: Callable[[str], None]
    ) -> None:
        image = self.cloud.image(name, caller, phase, warm)
        for span in self.spans:
            found = download(node.url, image, self.callers[caller], span)
            right = download(self.cloud.glance.url, image, self.callers[caller], span)
            assert essence(found) == essence(right), (phase, caller, name, span)
            self.compared += 1

    async def check_down(
        self, phase: str, node: Node, rightful: dict[tuple[str, str], bytes]
    ) -> None:
        """Hold every answer against the rule: these get their bytes, all others a 503."""
        for caller in self.callers:
            rows = (
                self._in_turn(self._check_down, phase, node, caller, name, rightful)
                for name in CASES
            )
            await asyncio.gather(*rows)

    def _check_down(
        self,
        phase: str,
        node: Node,
        caller: str,
        name: str,
        rightful: dict[tuple[str, str], bytes],
    ) -> None:
        image = self.cloud.image(name, caller, phase, nothing)
        for span in self.spans:
            found = download(node.url, image, self.callers[caller], span)
            data = rightful.get((caller, name))
            where = (phase, caller, name, span, found)
            if data is None:
                assert found.status == 503, where
                assert int(found.headers["retry-after"]) > 0, where
            else:
                assert found.body == (data if span is None else data[10:20]), where
                assert found.status == (200 if span is None else 206), where
            self.compared += 1

    async def _in_turn(self, work: Callable[..., None], *arguments: object) -> None:
        async with self.turn:
            await asyncio.to_thread(work, *arguments)


async def compare_all(
    glance: Glance, keystone: Keystone, directory: Path, *, per_caller: bool
) -> int:
    """Run the whole matrix; how many answers were compared."""
    cloud = Cloud(glance, keystone, per_caller)
    asking = await asyncio.to_thread(callers, glance, keystone)
    matrix = Matrix(cloud, asking, (None, "bytes=10-19") if per_caller else (None,))
    async with (
        forwarding(glance.url) as network,
        async_node(_directory(directory, "strict"), network.url, more=ASK_ALWAYS) as strict,
        async_node(_directory(directory, "lenient"), network.url, more=LENIENT) as lenient,
    ):

        def warm(image: str) -> None:
            """Have both nodes cache it, where there is anything, with a right that all cases give."""
            for node in (strict, lenient):
                download(node.url, image, asking["member"], None)

        await matrix.compare("cold", strict, nothing)
        await matrix.compare("warm", lenient, warm)
        hits = lenient.metrics()['cacheproxy_requests_total{result="hit"}']
        rightful: dict[tuple[str, str], bytes] = {}
        for caller in asking:
            for name in CASES:
                image = cloud.image(name, caller, "warm", nothing)
                answer = await asyncio.to_thread(download, glance.url, image, asking[caller], None)
                if answer.status == 200:
                    rightful[caller, name] = answer.body
        assert {c: [n for n in CASES if (c, n) in rightful] for c in asking} == RIGHTFUL
        assert hits == len(rightful) * len(matrix.spans)
        await network.down()
        await matrix.check_down("warm", lenient, rightful)
        await matrix.check_down("warm", strict, {})
    return matrix.compared


def _directory(directory: Path, name: str) -> Path:
    made = directory / name
    made.mkdir()
    return made


async def test_the_proxy_answers_as_glance_does(
    glance: Glance, keystone: Keystone, tmp_path: Path
) -> None:
    """Each image is shared by all callers: only the first finds it cold."""
    compared = await compare_all(glance, keystone, tmp_path, per_caller=False)
    assert compared == 4 * len(CASES) * 11


@pytest.mark.long
async def test_the_proxy_answers_as_glance_does_each_time_anew(
    glance: Glance, keystone: Keystone, tmp_path: Path
) -> None:
    """Each caller finds images of its own, whole and in part."""
    compared = await compare_all(glance, keystone, tmp_path, per_caller=True)
    assert compared == 2 * 4 * len(CASES) * 11


async def test_a_change_through_the_proxy_counts_at_once(
    glance: Glance, keystone: Keystone, tmp_path: Path
) -> None:
    """However long the upstream's word is believed, and in whichever worker."""
    cloud = Cloud(glance, keystone, per_caller=False)
    more = "[upstream]\npermission_seconds = 3600\n"
    async with async_node(tmp_path, glance.url, workers=2, more=more) as node:
        member, partner = cloud.api(MEMBER), cloud.api(PARTNER)
        project = await asyncio.to_thread(keystone.project_id, PARTNER)
        proxied = {user: ImagesApi(node.url, cloud.api(user).headers) for user in (ADMIN, MEMBER)}

        async def statuses(image: str, caller: Caller) -> set[int]:
            """Ask on so many connections that both workers answer some."""
            asked = (asyncio.to_thread(download, node.url, image, caller, None) for _ in range(4))
            return {answer.status for answer in await asyncio.gather(*asked)}

        async def change(user: User, method: str, path: str, **more: Any) -> None:
            answer = await asyncio.to_thread(proxied[user].call, method, path, **more)
            answer.expect(200, 204)

        image = await asyncio.to_thread(cloud.image, "shared", "", "changes", nothing)
        for caller in (member.headers, partner.headers):
            assert await statuses(image, caller) == {200}
        await change(MEMBER, "DELETE", f"/{image}/members/{project}")
        assert await statuses(image, partner.headers) == {404}
        visibility = [{"op": "replace", "path": "/visibility", "value": "community"}]
        headers = {"Content-Type": PATCH}
        await change(MEMBER, "PATCH", f"/{image}", headers=headers, document=visibility)
        assert await statuses(image, partner.headers) == {200}
        visibility[0]["value"] = "private"
        await change(MEMBER, "PATCH", f"/{image}", headers=headers, document=visibility)
        assert await statuses(image, partner.headers) == {404}
        assert await statuses(image, member.headers) == {200}
        await change(ADMIN, "POST", f"/{image}/actions/deactivate")
        assert await statuses(image, member.headers) == {403}
        await change(ADMIN, "POST", f"/{image}/actions/reactivate")
        assert await statuses(image, member.headers) == {200}
        await change(MEMBER, "DELETE", f"/{image}")
        assert await statuses(image, member.headers) == {404}


def test_our_catalog_is_asked_for_the_right_and_a_glance_is_not(
    catalog: Catalog, glance_open: Glance, tmp_path: Path
) -> None:
    """Nobody tells the proxy which of them it has."""
    for url, first, second in ((catalog.url, 1, 1), (glance_open.url, 2, 1)):
        place = _directory(tmp_path, f"node-{first}")
        image = ImagesApi(url).add(data_of("image"))
        with running_node(place, url, more=ASK_ALWAYS) as node:
            asked = [0.0]
            for _ in range(3):
                assert download(node.url, image, {}, None).body == data_of("image")
                asked.append(node.metrics()["cacheproxy_permission_questions_total"])
            assert [after - before for before, after in pairwise(asked)] == [first, second, second]
            assert node.metrics()['cacheproxy_requests_total{result="hit"}'] == 2
