"""Glance's Swift store: of one account, of several in a file, or of whoever calls (multi-tenant).

Images are plain objects or large ones (`upload`); any range of either is read, and a read
that breaks goes on at its byte, if the object is still the same.  No error shows a credential.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from weakref import WeakValueDictionary

from backends.answers import NoBytes
from backends.base import Stat
from backends.errors import (
    DeniedError,
    DuplicateError,
    MissingError,
    StoreError,
    UnavailableError,
)
from backends.location import Location, checked_name
from backends.outlasting import finished
from backends.spans import Span
from backends.swift.accounts import Accounts, CallersAccount, Nobody, SwiftAccounts
from backends.swift.client import Request, SwiftClient, Target, refusal
from backends.swift.identity import Caller
from backends.swift.large import delete_each, delete_object
from backends.swift.options import SwiftOptions
from backends.swift.stream import SwiftStream
from backends.swift.trust import trusted
from backends.swift.upload import Destination, SwiftWriter, is_segment

_log = logging.getLogger(__name__)

_DONE = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT)
_STILL_USED = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
_DELETE_SECONDS = 600.0  # then a deletion is cut short; it may be asked for again


class SwiftStore:
    """A `PruneStore` on Swift.

    A multi-tenant one can do nothing by itself, only `acting_for` somebody.  ValueError for a CA
    file that cannot be used.
    """

    def __init__(
        self,
        options: SwiftOptions,
        accounts: Accounts | None = None,
        client: SwiftClient | None = None,
    ) -> None:
        self._options = options
        own = Nobody() if options.multi_tenant else SwiftAccounts(options)
        self._accounts = own if accounts is None else accounts
        self._client = SwiftClient(options) if client is None else client
        self._publishing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"SwiftStore({self._accounts!r}, {self._options.container})"

    def acting_for(self, token: str, storage_url: str | None = None) -> SwiftStore:
        """Return this (multi-tenant) store as the holder of a token sees it.

        `storage_url` is the account of the caller's project, where new images go; Glance takes it
        from the catalog that came with the token.  Who only reads, in whatever account, may do
        without where the options have an endpoint: the token goes to no other server than that.
        Connections are shared: close this store only.
        """
        if not self._options.multi_tenant:
            raise ValueError("a Swift store of one account acts for nobody else")
        url = storage_url or self._options.endpoint
        if not url:
            raise ValueError("nobody has said which Swift the caller's token is for")
        caller = CallersAccount(self._options, token, url)
        return SwiftStore(self._options, caller, self._client)

    async def stat(self, location: Location) -> Stat:
        """Look at an object; of a large one at its manifest, which tells the whole size."""
        target = self._accounts.target(location)
        found = await self._client.call(Request("HEAD", target))
        if found.status != HTTPStatus.OK:
            raise refusal(location, found.status)
        told = found.headers.get("Content-Length", "")
        return Stat(int(told) if told.isdecimal() else None)

    @asynccontextmanager
    async def read(
        self, location: Location, span: Span | None = None
    ) -> AsyncIterator[SwiftStream | NoBytes]:
        """Read an object; whatever was not read of the answer is not received either."""
        if span is not None and not len(span):
            yield NoBytes((await self.stat(location)).size)
            return
        target = self._accounts.target(location)
        wanted = Span.since(0) if span is None else span
        stream = SwiftStream(self._client, target, location, wanted, self._options)
        try:
            await stream.open()
            yield stream
        finally:
            await stream.aclose()

    @asynccontextmanager
    async def create(self, name: str, size: int | None = None) -> AsyncIterator[SwiftWriter]:
        """Begin an object; DuplicateError at once if it is there already."""
        location = self._accounts.new_location(checked_name(name))
        found = await self._client.call(Request("HEAD", self._accounts.target(location)))
        if found.status == HTTPStatus.OK:
            raise DuplicateError(f"{location}: is there already")
        if found.status != HTTPStatus.NOT_FOUND:
            raise refusal(location, found.status)
        lock = self._publishing.setdefault(location.uri, asyncio.Lock())
        async with self._lasting(self._accounts.target(location), size) as target:
            destination = Destination(target, location, lock, self._make_container)
            writer = SwiftWriter(self._client, self._options, destination, size)
            try:
                yield writer
            finally:
                await writer.close()
                if self._options.multi_tenant and not writer.is_kept:
                    await self._remove_container(target)

    async def require_unused(self, location: Location) -> None:
        """Let it go: nothing is told of who uses an object."""

    async def delete(self, location: Location) -> None:
        """Delete an object with all of its segments, to the end also if cancelled meanwhile.

        With it goes the container that a multi-tenant store has made for it.
        """
        target = self._accounts.target(location)
        try:
            await finished(self._delete(target), _DELETE_SECONDS)
        except TimeoutError:
            raise UnavailableError(f"{location}: was not deleted in time") from None

    async def clear(self, name: str) -> int:
        """Delete an object and the segments of its unfinished uploads, as far as Swift lists them."""
        target = self._accounts.target(self._accounts.new_location(checked_name(name)))
        try:
            return await finished(self._clear(target), _DELETE_SECONDS)
        except TimeoutError:
            raise UnavailableError(f"{target.shown}: was not cleared in time") from None

    async def set_acls(
        self,
        location: Location,
        *,
        public: bool = False,
        read_projects: Sequence[str] = (),
        write_projects: Sequence[str] = (),
    ) -> None:
        """Say who else may read and write what is in a multi-tenant location's container."""
        readers = "*:*" if public else _acl(read_projects)
        writers = _acl((*write_projects, *self._options.admin_projects))
        headers = {"X-Container-Read": readers, "X-Container-Write": writers}
        container = self._accounts.target(location).sibling("")
        answer = await self._client.call(Request("POST", container, headers=headers))
        if answer.status not in _DONE:
            raise refusal(location, answer.status)

    async def aclose(self) -> None:
        """Forget all tokens, close all connections."""
        await self._accounts.aclose()
        await self._client.aclose()

    @asynccontextmanager
    async def _lasting(self, target: Target, size: int | None) -> AsyncIterator[Target]:
        """Yield where an upload goes, as somebody whose token does not end before it does."""
        options, caller = self._options, target.identity
        account = options.accounts.get(options.default_reference)
        if (
            options.use_trusts
            and (size is None or size >= options.large_object_bytes)
            and isinstance(caller, Caller)
            and account is not None
            and account.user
        ):
            async with trusted(caller, account, options) as identity:
                yield replace(target, identity=identity)
        else:
            yield target

    async def _delete(self, target: Target) -> None:
        await delete_object(self._client, target, self._options.segments_at_once)
        if self._options.multi_tenant:
            await self._delete_container(target)

    async def _clear(self, target: Target) -> int:
        removed = 0
        try:
            await self._delete(target)
            removed += 1
        except MissingError:
            pass
        segments = [
            target.sibling(found)
            async for found in self._client.names(target, f"{target.name}-")
            if is_segment(found, target.name)
        ]
        await delete_each(self._client, segments, self._options.segments_at_once)
        if self._options.multi_tenant:
            await self._delete_container(target)
        return removed + len(segments)

    async def _delete_container(self, target: Target) -> None:
        answer = await self._client.call(Request("DELETE", target.sibling("")))
        if answer.status not in (*_DONE, *_STILL_USED):
            raise refusal(target.shown, answer.status)

    async def _remove_container(self, target: Target) -> None:
        """Take back what an upload that failed has made, if nobody else uses it."""
        try:
            await finished(self._delete_container(target), _DELETE_SECONDS)
        except (StoreError, TimeoutError) as error:
            _log.warning("the container of an unfinished upload is left: %s", error)

    async def _make_container(self, target: Target) -> None:
        if not self._options.create_container:
            raise DeniedError(f"{target.shown}: the container is not there, and is not to be made")
        answer = await self._client.call(Request("PUT", target.sibling("")))
        if answer.status not in _DONE:
            raise refusal(target.shown, answer.status)


def _acl(projects: Sequence[str]) -> str:
    return ",".join(f"{project}:*" for project in projects)
