"""Glance's `s3` store: one object of a bucket for each image, on any server that speaks S3.

A span is read with one `Range` request.  Objects are written by `backends.s3.writer`, in one
request or in parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from botocore.exceptions import ClientError

from backends.answers import AnswerStream, NoBytes, stream_of
from backends.base import Stat
from backends.connections import authorities
from backends.errors import DuplicateError, InvalidError, MissingError, UnavailableError
from backends.location import Location, checked_name
from backends.outlasting import finished
from backends.s3.client import S3Client
from backends.s3.errors import code_of, translated
from backends.s3.get import S3Getter
from backends.s3.location import DEFAULT_REGION, Address, Endpoint
from backends.s3.object import OUTLAST_SECONDS, S3Object
from backends.s3.options import S3Options
from backends.s3.parts import PartPlan
from backends.s3.writer import S3Writer
from backends.spans import Span

_OURS_ALREADY = "BucketAlreadyOwnedByYou"


class S3Store:
    """A `PruneStore` in a bucket.  ValueError for options that make no sense."""

    def __init__(self, options: S3Options) -> None:
        if not (options.bucket and options.access_key and options.secret_key):
            raise ValueError("an S3 store needs a bucket, an access key and a secret key")
        if min(options.part_bytes, options.parts_at_once, options.buffer_bytes) < 1:
            raise ValueError("an S3 store needs room for a part")
        authorities(options.ca_file)  # botocore reads the file itself, and late
        self._options = options
        self._endpoint = Endpoint.of(options.host)
        self._client = S3Client(options, self._endpoint)
        self._getter = S3Getter(options, self._client)
        self._bucket_is_there = False
        self._publishing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"S3Store({self._endpoint.url}, {self._options.bucket})"

    async def stat(self, location: Location) -> Stat:
        """Ask for the headers."""
        address = Address.of(location)
        client = await self._client.get()
        with translated(location):
            told = await client.head_object(Bucket=address.bucket, Key=address.key)
        return Stat(told.get("ContentLength"))

    @asynccontextmanager
    async def read(
        self, location: Location, span: Span | None = None
    ) -> AsyncIterator[AnswerStream | NoBytes]:
        """Read an object as it was when it was opened; what is not read is not received either."""
        if span is not None and not len(span):
            yield NoBytes((await self.stat(location)).size)
            return
        answer = await self._getter.get(location, span)
        if answer is None:
            yield await self._nothing(location, span)
            return
        try:
            yield _stream(location, span, answer)
        finally:
            answer.close()

    @asynccontextmanager
    async def create(self, name: str, size: int | None = None) -> AsyncIterator[S3Writer]:
        """Begin an object; nothing is sent before a part of it is full."""
        address = Address(self._options.bucket, checked_name(name))
        location = self._endpoint.location(address)
        client = await self._client.get()
        await self._check_bucket(client)
        try:
            await self.stat(location)
        except MissingError:
            turn = self._publishing.setdefault(name, asyncio.Lock())
            target = S3Object(client, address, location)
            writer = S3Writer(target, PartPlan(self._options, size), turn)
        else:
            raise DuplicateError(f"{location}: is there already")
        try:
            yield writer
        except MissingError:  # perhaps the bucket: the next one looks again
            self._bucket_is_there = False
            raise
        finally:
            await writer.close()

    async def require_unused(self, location: Location) -> None:
        """Let it go: nothing is told of who uses an object."""

    async def delete(self, location: Location) -> None:
        """Delete an object; S3 itself does not say whether there was one."""
        await self.stat(location)
        address = Address.of(location)
        client = await self._client.get()
        gone = client.delete_object(Bucket=address.bucket, Key=address.key)
        with translated(location):
            await finished(gone, OUTLAST_SECONDS)  # a cancelled caller need not guess

    async def clear(self, name: str) -> int:
        """Abort all uploads of parts that have this name, and delete the object."""
        address = Address(self._options.bucket, checked_name(name))
        location = self._endpoint.location(address)
        target = S3Object(await self._client.get(), address, location)
        try:
            return await finished(target.clear(), OUTLAST_SECONDS)
        except TimeoutError:
            raise UnavailableError(f"{location}: was not cleared in time") from None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _nothing(self, location: Location, span: Span | None) -> NoBytes:
        size = (await self.stat(location)).size
        if span is not None and size is not None and span.start < size:
            raise InvalidError(f"{location}: has {size} bytes, but refuses {span}")
        return NoBytes(size)

    async def _check_bucket(self, client: Any) -> None:
        """See once that the bucket is there; make it where the options say so."""
        if self._bucket_is_there:
            return
        bucket = self._options.bucket
        what = f"bucket {bucket}"
        try:
            with translated(what):
                await client.head_bucket(Bucket=bucket)
        except MissingError:
            if not self._options.create_bucket:
                raise
            with translated(what):
                await self._make_bucket(client)
        self._bucket_is_there = True

    async def _make_bucket(self, client: Any) -> None:
        region = self._client.region
        place = (
            {}
            if region == DEFAULT_REGION
            else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        try:
            await client.create_bucket(Bucket=self._options.bucket, **place)
        except ClientError as error:
            if code_of(error) != _OURS_ALREADY:  # somebody else was faster
                raise


def _stream(location: Location, span: Span | None, answer: Any) -> AnswerStream:
    stream = stream_of(location, span, answer)
    if stream is None:  # neither an error nor bytes that were asked for
        raise InvalidError(f"{location}: the server answers {answer.status}")
    return stream
