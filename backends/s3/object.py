"""The requests about one object that is being written.

Each write marks its object, so that a last request whose answer was lost can be told from
somebody else's.  That request says `If-None-Match: *`, which newer servers hold to.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from backends.errors import (
    DeniedError,
    DuplicateError,
    InvalidError,
    MissingError,
    UnavailableError,
    UnsupportedError,
)
from backends.location import Location
from backends.s3.body import S3Body
from backends.s3.errors import translated
from backends.s3.location import Address
from backends.wrapping import Retrying

_log = logging.getLogger(__name__)

MARK = "write"  # the name of our mark in an object's metadata
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.2
PAUSE_SECONDS_MAX = 5.0
OUTLAST_SECONDS = 600.0  # how long what must not be left alone may take
ABORTS_MAX = 3  # a part that arrives beside an abort may survive it


class S3Object:
    """An object to be, with the upload of its parts if there is one.

    Requests that fail as unavailable are tried again: all that they need is at hand.
    """

    def __init__(self, client: Any, address: Address, location: Location) -> None:
        self.location = location
        self._client = client
        self._names = {"Bucket": address.bucket, "Key": address.key}
        self._mark = uuid.uuid4().hex
        self._upload_id: str | None = None
        self._tags: dict[int, str] = {}  # of the parts that are there
        self._retrying = Retrying(ATTEMPTS, FIRST_PAUSE_SECONDS, PAUSE_SECONDS_MAX)

    @property
    def has_parts(self) -> bool:
        """Whether an upload of parts was begun, which must be completed or aborted."""
        return self._upload_id is not None

    async def begin_parts(self) -> None:
        """Begin the upload of parts; not tried again, each attempt may begin one."""
        with translated(self.location):
            told = await self._client.create_multipart_upload(
                **self._names, Metadata={MARK: self._mark}
            )
        self._upload_id = self._told(told, "UploadId")

    async def put_part(self, number: int, body: S3Body) -> None:
        """Send a part."""
        await body.compute_digest()

        async def attempt() -> str:
            with translated(self.location):
                told = await self._client.upload_part(
                    **self._names,
                    UploadId=self._upload_id,
                    PartNumber=number,
                    Body=body,
                    ContentLength=body.length,
                )
            return self._told(told, "ETag")

        self._tags[number] = await self._retrying.tried(attempt)

    async def put(self, body: S3Body) -> None:
        """Publish the object, `body` is all of it; DuplicateError if there is one."""
        await body.compute_digest()

        async def attempt(condition: Mapping[str, str]) -> None:
            with translated(self.location):
                await self._client.put_object(
                    **self._names,
                    **condition,
                    Body=body,
                    ContentLength=body.length,
                    Metadata={MARK: self._mark},
                )

        await self._published(attempt)

    async def complete(self) -> None:
        """Publish the object from its parts; DuplicateError if there is one."""
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in sorted(self._tags.items())]

        async def attempt(condition: Mapping[str, str]) -> None:
            with translated(self.location):
                told = await self._client.complete_multipart_upload(
                    **self._names,
                    **condition,
                    UploadId=self._upload_id,
                    MultipartUpload={"Parts": parts},
                )
            if "ETag" not in told:  # a 200 that was sent before it was done
                raise UnavailableError(f"{self.location}: may or may not be complete")

        await self._published(attempt)

    async def exists(self) -> bool:
        """Whether an object of that name is there."""
        return await self._mark_there() is not None

    async def is_there(self) -> bool:
        """Whether this object is there, by its mark."""
        return await self._mark_there() == self._mark

    async def delete(self) -> None:
        """Delete whatever object of that name is there."""

        async def attempt() -> None:
            with translated(self.location):
                await self._client.delete_object(**self._names)

        await self._retrying.tried(attempt)

    async def abort_parts(self) -> None:
        """End the upload; its parts are gone."""

        async def attempt() -> None:
            with translated(self.location):
                await self._client.abort_multipart_upload(**self._names, UploadId=self._upload_id)

        for _ in range(ABORTS_MAX):
            try:
                await self._retrying.tried(attempt)
            except MissingError:
                return

    async def clear(self) -> int:
        """Leave nothing of that name, whoever began it; say how many things were there."""
        removed = 0
        for upload_id in await self._begun():
            self._upload_id = upload_id
            await self.abort_parts()
            removed += 1
        if await self.exists():
            await self.delete()
            removed += 1
        return removed

    async def _begun(self) -> list[str]:
        """Return the uploads of parts that nobody has ended."""
        found: list[str] = []
        after: dict[str, str] = {}

        async def page() -> dict[str, Any]:
            with translated(self.location):
                told: dict[str, Any] = await self._client.list_multipart_uploads(
                    Bucket=self._names["Bucket"], Prefix=self._names["Key"], **after
                )
                return told

        while True:
            try:
                told = await self._retrying.tried(page)
            except MissingError:  # the bucket
                return found
            except DeniedError as error:
                _log.error(
                    "parts of uploads that died are left where the bucket has no rule: %s", error
                )
                return found
            listed = told.get("Uploads", [])
            found += [each["UploadId"] for each in listed if each["Key"] == self._names["Key"]]
            if not told.get("IsTruncated") or not listed:
                return found
            after = {
                "KeyMarker": told["NextKeyMarker"],
                "UploadIdMarker": told["NextUploadIdMarker"],
            }

    def _told(self, answer: Mapping[str, Any], name: str) -> str:
        if name not in answer:
            raise InvalidError(f"{self.location}: the server does not tell the {name}")
        return str(answer[name])

    async def _published(self, attempt: Callable[[Mapping[str, str]], Awaitable[None]]) -> None:
        async def either() -> None:
            try:
                await attempt({"IfNoneMatch": "*"})
            except UnsupportedError:
                await attempt({})

        try:
            await self._retrying.tried(either)
        except (UnavailableError, DuplicateError, MissingError):
            if not await self.is_there():  # else an attempt did it whose answer was lost
                raise

    async def _mark_there(self) -> str | None:
        """Return the mark of the object that is there; empty where it has none."""

        async def attempt() -> str:
            with translated(self.location):
                told = await self._client.head_object(**self._names)
            return str(told.get("Metadata", {}).get(MARK, ""))

        try:
            return await self._retrying.tried(attempt)
        except MissingError:
            return None
