"""The Glance of another region, found in Keystone's catalog and asked with the caller's own token.

Callers are kept in this process only: an import of this kind is done by the instance that took the
request, and fails if that one dies.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from registry.domain.errors import InvalidRequestError
from registry.domain.identity import Identity
from registry.fetching.filtering import UriFilter
from registry.fetching.reading import Source, reading

LOG = logging.getLogger(__name__)

ASK_SECONDS = 30.0  # for an answer that is no image's data
RECORD_BYTES_MAX = 8 << 20
TOKEN_HEADER = "X-Auth-Token"  # noqa: S105  # a name


@dataclass(frozen=True, slots=True)
class Awaited:
    """Who waits for an import."""

    identity: Identity
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Remote:
    """The record of an image elsewhere, and where its data is."""

    url: str
    size: int
    formats: Mapping[str, str | None]  # by the fields of the record
    properties: Mapping[str, str]


class OtherGlances:
    """Finds and reads images of other regions; `keystone` is the URL of Keystone, None without."""

    def __init__(
        self, keystone: str | None, uri_filter: UriFilter, prefixes: tuple[str, ...]
    ) -> None:
        self._keystone = keystone
        self._filter = uri_filter
        self._prefixes = prefixes
        self._awaited: dict[str, Awaited] = {}

    def __repr__(self) -> str:
        return f"<OtherGlances {len(self._awaited)} awaited>"

    def remember(self, task_id: str, identity: Identity, token: str) -> None:
        """Keep a caller, and the caller's token, until its task ends."""
        self._awaited[task_id] = Awaited(identity, token)

    def forget(self, task_id: str) -> None:
        """Keep them no longer."""
        self._awaited.pop(task_id, None)

    def caller(self, task_id: str) -> Identity:
        """Return who has asked for an image; `InvalidRequestError` if that is not known any more."""
        return self._who(task_id).identity

    async def find(self, task_id: str, arguments: Mapping[str, Any]) -> Remote:
        """Return what is known of the image that a request names; `InvalidRequestError` if nothing."""
        url = await self._endpoint(
            self._who(task_id).token,
            str(arguments["glance_region"]),
            str(arguments["glance_service_interface"]),
        )
        image = f"{url.rstrip('/')}/v2/images/{arguments['glance_image_id']}"
        record = await self._record(image, self._headers(task_id))
        if record.get("status") != "active":
            raise InvalidRequestError(
                f"Source image status should be active instead of {record.get('status')}"
            )
        try:
            size = int(record["size"])
        except (KeyError, TypeError, ValueError):
            raise InvalidRequestError(
                f"Size attribute of remote image {arguments['glance_image_id']} could not be "
                "determined."
            ) from None
        formats = {name: record.get(name) for name in ("disk_format", "container_format")}
        if not all(isinstance(value, str | None) for value in formats.values()):
            raise InvalidRequestError("The formats of the remote image are no texts.")
        return Remote(
            url=f"{image}/file",
            size=size,
            formats=formats,
            properties={
                name: value
                for name, value in record.items()
                if isinstance(value, str)
                and name.startswith(self._prefixes)
                and not name.startswith("os_glance")
            },
        )

    @asynccontextmanager
    async def data(self, task_id: str, remote: Remote) -> AsyncIterator[Source]:
        """Open the data of an image."""
        async with reading(self._filter, remote.url, self._headers(task_id)) as source:
            yield Source(remote.size, source.body)

    async def _record(self, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ASK_SECONDS), reading(self._filter, url, headers) as source:
                record = json.loads(await _whole(source))
        except TimeoutError:
            raise InvalidRequestError("The remote Glance does not answer in time.") from None
        if not isinstance(record, dict):
            raise InvalidRequestError("The remote Glance answers with no record of an image.")
        return record

    def _who(self, task_id: str) -> Awaited:
        try:
            return self._awaited[task_id]
        except KeyError:
            raise InvalidRequestError(
                "The caller's token is gone: the instance that had it was restarted."
            ) from None

    def _headers(self, task_id: str) -> dict[str, str]:
        return {TOKEN_HEADER: self._who(task_id).token}

    async def _endpoint(self, token: str, region: str, interface: str) -> str:
        """Return the address of a region's images, as the caller's own catalog has it."""
        if self._keystone is None:
            raise InvalidRequestError("There is no Keystone to find other regions.")
        base = self._keystone.rstrip("/")
        base = base if urlsplit(base).path.endswith("/v3") else f"{base}/v3"
        try:
            async with (
                asyncio.timeout(ASK_SECONDS),
                aiohttp.ClientSession() as session,
                session.get(f"{base}/auth/catalog", headers={TOKEN_HEADER: token}) as answer,
            ):
                if not answer.ok:
                    raise InvalidRequestError(f"Keystone answers {answer.status}.")
                catalog = (await answer.json())["catalog"]
        except (aiohttp.ClientError, TimeoutError, KeyError, ValueError) as error:
            LOG.warning("no catalog of Keystone's for an import: %r", error)
            raise InvalidRequestError("Keystone does not tell of other regions now.") from None
        for service in catalog:
            if service.get("type") != "image":
                continue
            for endpoint in service.get("endpoints", ()):
                is_there = str(endpoint.get("region", "")).lower() == region.lower()
                if is_there and endpoint.get("interface") == interface:
                    return str(endpoint["url"])
        raise InvalidRequestError(f"No glance endpoint found for region {region}")


async def _whole(source: Source) -> bytes:
    found = bytearray()
    async for piece in source.body:
        found += piece
        if len(found) > RECORD_BYTES_MAX:
            raise InvalidRequestError("The record of the remote image is too long.")
    return bytes(found)
