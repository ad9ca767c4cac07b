"""Large objects of Swift: what a manifest joins, and how it goes with all of that.

Of a static one (SLO) Swift knows the segments, and deletes them; of a dynamic one (DLO) they are
all objects whose names begin as the manifest says.
"""

from __future__ import annotations

import asyncio
import json
import re
from http import HTTPStatus
from urllib.parse import quote, unquote

from backends.errors import InvalidError
from backends.swift.client import LISTING_PAGE, Request, SwiftClient, Target, refusal

MANIFEST = "X-Object-Manifest"
_STATIC = "X-Static-Large-Object"
_NUMBER = re.compile(r"\d{5,}", re.ASCII)
_DELETED = (HTTPStatus.OK, HTTPStatus.NO_CONTENT)


def manifest_header(target: Target, prefix: str) -> str:
    """Return the header's value for all objects beside `target` that begin with `prefix`."""
    return f"{quote(target.container, safe='')}/{quote(prefix, safe='')}"


async def delete_object(client: SwiftClient, target: Target, at_once: int) -> None:
    """Delete an object, its segments first, so that whoever is interrupted may do it again."""
    found = await client.call(Request("HEAD", target))
    if found.status != HTTPStatus.OK:
        raise refusal(target.shown, found.status)
    if found.headers.get(_STATIC, "").lower() in ("true", "1", "yes", "on", "t", "y"):
        await _delete_static(client, target)
        return
    if manifest := found.headers.get(MANIFEST):
        await _delete_joined(client, target, unquote(manifest), at_once)
    answer = await client.call(Request("DELETE", target))
    if answer.status not in _DELETED:
        raise refusal(target.shown, answer.status)


async def delete_each(client: SwiftClient, targets: list[Target], at_once: int) -> None:
    """Delete plain objects, those that are there; the first error once all were tried."""
    places = asyncio.Semaphore(at_once)

    async def delete(target: Target) -> None:
        async with places:
            answer = await client.call(Request("DELETE", target))
        if answer.status not in (*_DELETED, HTTPStatus.NOT_FOUND):
            raise refusal(target.shown, answer.status)

    results = await asyncio.gather(*map(delete, targets), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _delete_joined(client: SwiftClient, target: Target, manifest: str, at_once: int) -> None:
    container, _, prefix = manifest.lstrip("/").partition("/")
    if not (container and prefix):
        raise InvalidError(f"{target.shown}: its manifest names no segments")
    beside = container == target.container and prefix == f"{target.name}-"
    page: list[Target] = []
    async for name in client.names(target.sibling("", container), prefix):
        # Glance numbers its segments; the rest may be images whose names begin alike.
        if beside and not _NUMBER.fullmatch(name.removeprefix(prefix)):
            continue
        page.append(target.sibling(name, container))
        if len(page) == LISTING_PAGE:
            await delete_each(client, page, at_once)
            page.clear()
    await delete_each(client, page, at_once)


async def _delete_static(client: SwiftClient, target: Target) -> None:
    request = Request(
        "DELETE",
        target,
        headers={"Accept": "application/json"},
        query={"multipart-manifest": "delete"},
    )
    answer = await client.call(request)
    if answer.status not in _DELETED:
        raise refusal(target.shown, answer.status)
    status, absent = _report(target, answer.body)
    if status not in _DELETED and not (status == HTTPStatus.BAD_REQUEST and absent):
        raise refusal(target.shown, status)


def _report(target: Target, body: bytes) -> tuple[int, bool]:
    """Return how Swift's bulk deletion went, and whether something was not there."""
    try:
        report = json.loads(body)
        status = int(str(report["Response Status"]).split()[0])
        return status, bool(report["Number Not Found"]) and not report["Errors"]
    except (ValueError, TypeError, KeyError, IndexError):
        raise InvalidError(f"{target.shown}: not a report on a deletion") from None
