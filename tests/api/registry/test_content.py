"""Images are found by their content: administrators only, of all projects."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import uuid4

import pytest

from registry.domain.content import ContentName

DATA = b"the same in many images"
SHA512 = hashlib.sha512(DATA).hexdigest()
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


async def found(client: Any, name: str, query: str = "") -> Any:
    path = f"/v2/cacheproxy/content/{name}{query}"
    async with client.session.get(path) as answer:
        return answer.status, await answer.json() if answer.status == 200 else await answer.text()


async def test_by_every_name(client: Any) -> None:
    same = sorted([await client.add(DATA) for _ in range(3)])
    other = await client.add(b"something else")
    hidden = {"op": "replace", "path": "/os_hidden", "value": True}
    theirs = {"op": "replace", "path": "/owner", "value": uuid4().hex}
    community = {"op": "replace", "path": "/visibility", "value": "community"}
    assert (await client.patch(same[0], hidden, theirs, community)).status == 200
    assert (await client.call("POST", f"/{same[1]}/actions/deactivate")).status == 204
    records = [await client.show(image) for image in same]
    for name in (f"sha512:{SHA512}", f"SHA512:{SHA512.upper()}", f"md5:{MD5}"):
        assert await found(client, name) == (200, {"images": records})
    assert await found(client, records[0]["os_manifest"]) == (200, {"images": records})
    assert await found(client, f"sha256:{SHA512}") == (200, {"images": []})
    await client.call("DELETE", f"/{same[2]}")
    assert await found(client, f"md5:{MD5}") == (200, {"images": records[:2]})
    manifest = (await client.show(other))["os_manifest"]
    status, page = await found(client, manifest)
    assert (status, [image["id"] for image in page["images"]]) == (200, [other])


async def test_pages(client: Any) -> None:
    same = sorted([await client.add(DATA) for _ in range(5)])
    walked: list[str] = []
    query: str | None = "?limit=2"
    while query is not None:
        status, page = await found(client, f"md5:{MD5}", query)
        assert status == 200
        walked += [image["id"] for image in page["images"]]
        link = page.get("next")
        query = None if link is None else "?" + link.partition("?")[2]
        assert link is None or link.startswith(f"/v2/cacheproxy/content/md5:{MD5}?limit=2&marker=")
    assert walked == same
    assert await found(client, f"md5:{MD5}", "?limit=0") == (200, {"images": []})


@pytest.mark.parametrize(
    ("name", "query"),
    [
        *(("sha512", ""), ("sha512:", ""), ("sha512:xyz", ""), ("1:2:3", ""), ("md5:0%00", "")),
        *(("md5:00", "?limit=-1"), ("md5:00", "?limit=x"), ("md5:00", "?marker=%00")),
    ],
)
async def test_what_is_no_name(client: Any, name: str, query: str) -> None:
    assert (await found(client, name, query))[0] == 400


def test_names() -> None:
    assert ContentName.parse("SHA3-256:AB") == ContentName("sha3-256", "ab")
    manifest = f"1:1048576:{'0' * 64}"
    assert ContentName.parse(manifest) == ContentName(None, manifest)
