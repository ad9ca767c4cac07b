"""Clients of the Images API that fail in every way and go on: a plain one, and the real libraries.

Each call is one request that is never repeated (the libraries' own calls may be several), and its
reply says what became of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import aiohttp
import glanceclient  # type: ignore[import-untyped]  # it has no types
import glanceclient.exc  # type: ignore[import-untyped]  # it has no types
import openstack
import openstack.exceptions
import requests
from keystoneauth1.exceptions import ClientException

from harness.keystone import Keystone, User
from harness.mortals import FORMATS, OCTETS

PATIENCE_SECONDS = 110.0  # more than any answer may take
PIECE_BYTES = 32 << 10
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
CUT = 0  # the status of what has no answer


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a request; `body` is what JSON says, or the bytes of data."""

    status: int
    body: Any = None
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_failure(self) -> bool:
        """Whether the request may be repeated."""
        return self.status == CUT or self.status >= 500

    @property
    def is_refusal(self) -> bool:
        """Whether it says that nothing was done, as the catalog does, and not only that it failed."""
        return "Retry-After" in self.headers and "look whether" not in self.text


class PlainClient:
    """Asks for what it says, on a connection for each request."""

    kind = "plain"

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session = session
        self._images = f"{url}/v2/images"
        self._headers = {"X-Auth-Token": token, "Accept": "application/json"}
        self.patience = PATIENCE_SECONDS

    async def call(self, method: str, path: str, **more: Any) -> Reply:
        """Send one request to a path below /v2/images."""
        headers = {**self._headers, **more.pop("headers", {})}
        timeout = aiohttp.ClientTimeout(total=self.patience)
        sent = self._session.request(
            method, self._images + path, headers=headers, timeout=timeout, **more
        )
        try:
            async with sent as answer:
                body = await answer.read()
                if answer.content_type == OCTETS["Content-Type"]:
                    return Reply(answer.status, body, headers=answer.headers)
                text = body.decode()
                is_json = answer.content_type == "application/json" and text
                document = json.loads(text) if is_json else None
                return Reply(answer.status, document, text, answer.headers)
        except TimeoutError:
            return Reply(CUT, text=f"no answer in {self.patience} s")
        except (aiohttp.ClientError, OSError) as error:
            return Reply(CUT, text=repr(error))

    async def create(self, document: dict[str, Any]) -> Reply:
        """Create an image."""
        return await self.call("POST", "", json={**FORMATS, **document})

    async def show(self, image: str) -> Reply:
        """Read a record."""
        return await self.call("GET", f"/{image}")

    async def page(self, query: str) -> Reply:
        """Read a page of a list."""
        return await self.call("GET", query)

    async def change(
        self, image: str, values: Mapping[str, str], removed: tuple[str, ...] = ()
    ) -> Reply:
        """Give properties values, and remove others."""
        patch: list[dict[str, str]] = [
            {"op": "add", "path": f"/{name}", "value": value} for name, value in values.items()
        ]
        patch += [{"op": "remove", "path": f"/{name}"} for name in removed]
        return await self.call("PATCH", f"/{image}", data=json.dumps(patch), headers=PATCH)

    async def upload(self, image: str, data: bytes, *, chunked: bool = False) -> Reply:
        """Send an image's data."""
        body = _pieces(data) if chunked else BytesIO(data)
        return await self.call("PUT", f"/{image}/file", data=body, headers=OCTETS)

    async def stage(self, image: str, data: bytes) -> Reply:
        """Send data that is to be imported."""
        return await self.call("PUT", f"/{image}/stage", data=BytesIO(data), headers=OCTETS)

    async def begin_import(self, image: str, method: dict[str, str], stores: list[str]) -> Reply:
        """Ask for an import."""
        asked = {"method": method, "stores": stores}
        return await self.call("POST", f"/{image}/import", json=asked)

    async def download(self, image: str) -> Reply:
        """Read all of an image's data."""
        return await self.call("GET", f"/{image}/file")

    async def read_span(self, image: str, start: int, stop: int) -> Reply:
        """Read some of it."""
        span = {"Range": f"bytes={start}-{stop - 1}"}
        return await self.call("GET", f"/{image}/file", headers=span)

    async def tag(self, image: str, tag: str) -> Reply:
        """Tag an image."""
        return await self.call("PUT", f"/{image}/tags/{tag}")

    async def untag(self, image: str, tag: str) -> Reply:
        """Take a tag off."""
        return await self.call("DELETE", f"/{image}/tags/{tag}")

    async def share(self, image: str, project: str) -> Reply:
        """Share an image with a project."""
        return await self.call("POST", f"/{image}/members", json={"member": project})

    async def accept(self, image: str, project: str) -> Reply:
        """Accept an image that was shared with one's own project."""
        status = {"status": "accepted"}
        return await self.call("PUT", f"/{image}/members/{project}", json=status)

    async def unshare(self, image: str, project: str) -> Reply:
        """Share it no more."""
        return await self.call("DELETE", f"/{image}/members/{project}")

    async def act(self, image: str, action: str) -> Reply:
        """Deactivate or reactivate an image."""
        return await self.call("POST", f"/{image}/actions/{action}")

    async def delete(self, image: str) -> Reply:
        """Delete an image."""
        return await self.call("DELETE", f"/{image}")

    def close(self) -> None:
        """Let go of what it has open."""


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]


class LibraryClient(PlainClient):
    """python-glanceclient, for what it has; it verifies what it downloads."""

    kind = "glanceclient"

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        super().__init__(session, url, token)
        self._client = glanceclient.Client(
            endpoint=f"{url}/v2", token=token, timeout=PATIENCE_SECONDS
        )

    async def _said(self, status: int, call: Callable[[], Any]) -> Reply:
        """Call the library, whose calls have this status when they succeed."""
        try:
            return Reply(status, await asyncio.to_thread(call))
        except glanceclient.exc.HTTPException as error:
            return Reply(int(error.code), text=str(error))
        except (glanceclient.exc.BaseException, requests.RequestException) as error:
            return Reply(CUT, text=repr(error))

    async def create(self, document: dict[str, Any]) -> Reply:
        return await self._said(
            201, lambda: dict(self._client.images.create(**FORMATS, **document))
        )

    async def show(self, image: str) -> Reply:
        return await self._said(200, lambda: dict(self._client.images.get(image)))

    async def change(
        self, image: str, values: Mapping[str, str], removed: tuple[str, ...] = ()
    ) -> Reply:
        update = self._client.images.update
        return await self._said(200, lambda: update(image, remove_props=[*removed], **values))

    async def upload(
        self,
        image: str,
        data: bytes,
        *,
        chunked: bool = False,  # noqa: ARG002  # it sends everything so
    ) -> Reply:
        return await self._said(204, lambda: self._client.images.upload(image, BytesIO(data)))

    async def stage(self, image: str, data: bytes) -> Reply:
        return await self._said(204, lambda: self._client.images.stage(image, BytesIO(data)))

    async def download(self, image: str) -> Reply:
        return await self._said(200, lambda: b"".join(self._client.images.data(image)))

    async def tag(self, image: str, tag: str) -> Reply:
        return await self._said(204, lambda: self._client.image_tags.update(image, tag))

    async def untag(self, image: str, tag: str) -> Reply:
        return await self._said(204, lambda: self._client.image_tags.delete(image, tag))

    async def share(self, image: str, project: str) -> Reply:
        return await self._said(200, lambda: self._client.image_members.create(image, project))

    async def act(self, image: str, action: str) -> Reply:
        return await self._said(204, lambda: getattr(self._client.images, action)(image))

    async def delete(self, image: str) -> Reply:
        return await self._said(204, lambda: self._client.images.delete(image))

    def close(self) -> None:
        self._client.http_client.session.close()


class SdkClient(PlainClient):
    """openstacksdk, for what it has and tells the outcome of; it logs in by itself."""

    kind = "openstacksdk"

    def __init__(
        self, session: aiohttp.ClientSession, url: str, keystone: Keystone, user: User
    ) -> None:
        super().__init__(session, url, keystone.token(user))
        domains = {"user_domain_id": "default", "project_domain_id": "default"}
        named = {"username": user.name, "password": user.password, "project_name": user.project}
        self._connection = openstack.connect(
            load_yaml_config=False,
            load_envvars=False,
            auth={"auth_url": keystone.url, **named, **domains},
            region_name="RegionOne",
            image_endpoint_override=url,
            api_timeout=PATIENCE_SECONDS,
        )

    async def _said(self, status: int, call: Callable[[Any], Any]) -> Reply:
        """Call the library, whose calls have this status when they succeed."""
        try:
            return Reply(status, await asyncio.to_thread(lambda: call(self._connection.image)))
        except openstack.exceptions.HttpException as error:
            return Reply(error.status_code or CUT, text=str(error))
        except (openstack.exceptions.SDKException, ClientException) as error:
            return Reply(CUT, text=repr(error))
        except requests.RequestException as error:
            return Reply(CUT, text=repr(error))

    async def create(self, document: dict[str, Any]) -> Reply:
        return await self._said(
            201, lambda layer: {"id": layer.create_image(**FORMATS, **document).id}
        )

    async def change(
        self, image: str, values: Mapping[str, str], removed: tuple[str, ...] = ()
    ) -> Reply:
        if removed:
            return await super().change(image, values, removed)
        return await self._said(200, lambda layer: layer.update_image(image, **values))

    async def download(self, image: str) -> Reply:
        return await self._said(200, lambda layer: layer.download_image(image).content)

    async def tag(self, image: str, tag: str) -> Reply:
        return await self._said(204, lambda layer: layer.add_tag(image, tag))

    async def untag(self, image: str, tag: str) -> Reply:
        return await self._said(204, lambda layer: layer.remove_tag(image, tag))

    async def share(self, image: str, project: str) -> Reply:
        return await self._said(200, lambda layer: layer.add_member(image, member_id=project))

    async def delete(self, image: str) -> Reply:
        return await self._said(204, lambda layer: layer.delete_image(image, ignore_missing=False))

    def close(self) -> None:
        self._connection.close()
        self._connection.session.session.close()
