"""Whose Swift it is: accounts, application credentials, many tenants; and large objects of others."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from backends.errors import DeniedError, InvalidError, MissingError
from backends.location import Location
from backends.spans import Span
from backends.swift.identity import Access, KeystoneAccount
from backends.swift.options import SwiftAccount, SwiftOptions
from backends.swift.store import SwiftStore
from contracts.subject import PIECE, pattern, read, write
from contracts.swift import Container, account, opened, options_of
from harness.http import ask
from harness.keystone import GLANCE, MEMBER, STRANGER, User
from harness.swift import Swift
from harness.waiting import until

T = TypeVar("T")
IMAGE = "3a1b2c3d-4e5f-6789-abcd-ef0123456789"


async def beside(call: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Make a call of the harness, which blocks."""
    return await asyncio.to_thread(call, *arguments, **options)


def application_credential(swift: Swift, user: User) -> tuple[str, str]:
    token = swift.keystone.new_token(user)
    found = swift.keystone.call("GET", f"/users?name={user.name}").expect(200).json()["users"]
    url = f"{swift.keystone.url}/users/{found[0]['id']}/application_credentials"
    document = {"application_credential": {"name": secrets.token_hex(4)}}
    answer = ask("POST", url, headers={"X-Auth-Token": token}, document=document).expect(201)
    made = answer.json()["application_credential"]
    return made["id"], made["secret"]


@dataclass
class OneAccount:
    """A store of Glance's account, its container and what else it was opened with."""

    store: SwiftStore
    container: Container
    options: SwiftOptions


@pytest.fixture
async def one(swift: Swift) -> AsyncIterator[OneAccount]:
    options = options_of(swift)
    container = Container(swift, options.container)
    async with opened(options) as store:
        yield OneAccount(store, container, options)
    await beside(container.remove)


class TestAccounts:
    async def test_an_application_credential(self, swift: Swift) -> None:
        identity, secret = await beside(application_credential, swift, GLANCE)
        credential = SwiftAccount(
            swift.keystone.url,
            application_credential_id=identity,
            application_credential_secret=secret,
        )
        options = options_of(swift, accounts={"ref1": credential})
        async with opened(options) as store:
            location = await write(store, "image", b"content")
            assert secret not in location.uri
            assert await read(store, location) == b"content"
            await store.delete(location)
        await beside(Container(swift, options.container).remove)

    async def test_a_token_that_has_ended(self, swift: Swift, one: OneAccount) -> None:
        location = await write(one.store, "image", b"content")
        identity = one.store._accounts.target(location).identity
        assert isinstance(identity, KeystoneAccount)
        fresh = await identity.access()
        ended = await beside(swift.keystone.expired_token, GLANCE)
        identity._access = Access(ended, fresh.url)
        assert await read(one.store, location) == b"content"
        assert (await identity.access()).token != ended

    @pytest.mark.parametrize(
        "changed",
        [{"key": "wrong"}, {"user": "service:nobody"}, {"user": "elsewhere:glance"}],
    )
    async def test_wrong_credentials(self, swift: Swift, changed: dict[str, str]) -> None:
        mine = account(swift)
        wrong = SwiftAccount(**{"auth_address": mine.auth_address, "user": mine.user} | changed)
        if not wrong.key:
            wrong = SwiftAccount(wrong.auth_address, wrong.user, mine.key)
        async with opened(options_of(swift, accounts={"ref1": wrong})) as store:
            with pytest.raises(DeniedError):
                await write(store, "image", b"x")

    @pytest.mark.parametrize("user", ["glance", "a:b:c", ":glance", "service:"])
    async def test_not_a_user_of_a_project(self, swift: Swift, user: str) -> None:
        wrong = SwiftAccount(swift.keystone.url, user, "key")
        async with opened(options_of(swift, accounts={"ref1": wrong})) as store:
            with pytest.raises(InvalidError):
                await write(store, "image", b"x")

    async def test_locations_of_other_accounts(self, one: OneAccount) -> None:
        location = await write(one.store, "image", b"content")
        plain = location.uri.replace(location.uri.split("//")[1].split("@")[0] + "@", "")
        assert await read(one.store, Location(plain)) == b"content"
        elsewhere = plain.replace("127.0.0.1", "127.0.0.2")
        for uri in (f"swift+config://other/{one.container.name}/image", elsewhere):
            with pytest.raises(InvalidError):
                await read(one.store, Location(uri))

    async def test_a_storage_url_instead_of_the_catalogs(self, swift: Swift) -> None:
        options = options_of(swift, region="Elsewhere", endpoint=swift.account(GLANCE))
        async with opened(options) as store:
            location = await write(store, "image", b"content")
            assert await read(store, location) == b"content"
        await beside(Container(swift, options.container).remove)

    async def test_containers_by_seed(self, swift: Swift) -> None:
        options = options_of(swift, containers_seed=3)
        container = Container(swift, f"{options.container}_3a1")
        async with opened(options) as store:
            location = await write(store, IMAGE, b"content")
            assert await beside(container.names) == {IMAGE}
            assert await read(store, location) == b"content"
        await beside(container.remove)

    async def test_a_container_that_is_not_to_be_made(self, swift: Swift) -> None:
        options = options_of(swift, create_container=False)
        async with opened(options) as store:
            with pytest.raises(DeniedError, match="container"):
                await write(store, "image", b"x")
            with pytest.raises(MissingError):
                await store.stat(store._accounts.new_location("image"))


class TestLargeObjectsOfOthers:
    @pytest.fixture
    async def segments(self, one: OneAccount) -> list[bytes]:
        """Put three segments."""
        parts = [pattern(PIECE, 1), pattern(PIECE + 1, 2), pattern(5, 3)]
        await beside(one.container.ask, "PUT")
        for number, part in enumerate(parts):
            answer = await beside(one.container.ask, "PUT", f"/image-{number:05d}", body=part)
            answer.expect(201)
        return parts

    async def check(self, one: OneAccount, content: bytes, left: set[str]) -> None:
        location = one.store._accounts.new_location("image")
        assert (await one.store.stat(location)).size == len(content)
        assert await read(one.store, location) == content
        for start, stop in ((0, 1), (PIECE - 1, PIECE + 1), (PIECE, 3 * PIECE), (7, len(content))):
            assert await read(one.store, location, Span(start, stop)) == content[start:stop]
        await one.store.delete(location)
        assert await beside(one.container.names) == left

    async def test_static(self, one: OneAccount, segments: list[bytes]) -> None:
        paths = [f"/{one.container.name}/image-{number:05d}" for number in range(3)]
        manifest = json.dumps([{"path": path} for path in paths]).encode()
        answer = await beside(
            one.container.ask, "PUT", "/image?multipart-manifest=put", body=manifest
        )
        answer.expect(201)
        await self.check(one, b"".join(segments), set())

    async def test_dynamic(self, one: OneAccount, segments: list[bytes]) -> None:
        headers = {"X-Object-Manifest": f"{one.container.name}/image-0"}
        answer = await beside(one.container.ask, "PUT", "/image", headers=headers)
        answer.expect(201)
        await self.check(one, b"".join(segments), set())

    async def test_images_that_begin_alike_are_no_segments(
        self, one: OneAccount, segments: list[bytes]
    ) -> None:
        await write(one.store, "image-2", b"")
        await write(one.store, "image-too", b"")
        headers = {"X-Object-Manifest": f"{one.container.name}/image-"}
        answer = await beside(one.container.ask, "PUT", "/image", headers=headers)
        answer.expect(201)
        await self.check(one, b"".join(segments), {"image-2", "image-too"})


class TestManyTenants:
    @pytest.fixture
    async def store(self, swift: Swift) -> AsyncIterator[SwiftStore]:
        """Open a multi-tenant store."""
        changed: dict[str, Any] = {"accounts": {}, "multi_tenant": True}
        async with opened(options_of(swift, **changed)) as store:
            yield store

    def mine(self, store: SwiftStore, swift: Swift, user: User) -> SwiftStore:
        return store.acting_for(swift.keystone.token(user), swift.account(user))

    @pytest.mark.parametrize("size", [1, 3 * PIECE])
    async def test_a_container_for_each_image(self, swift: Swift, size: int) -> None:
        changed: dict[str, Any] = {"large_object_bytes": 2, "segment_bytes": PIECE}
        options = options_of(swift, accounts={}, multi_tenant=True, **changed)
        content = pattern(size)
        async with opened(options) as store:
            member = await beside(self.mine, store, swift, MEMBER)
            location = await write(member, IMAGE, content)
            address = swift.account(MEMBER).removeprefix("http")
            expected = f"swift+http{address}/{options.container}_{IMAGE}/{IMAGE}"
            assert location.uri == expected
            assert await read(member, location, Span(0, 1)) == content[:1]
            assert await read(member, location) == content
            await member.delete(location)
            with pytest.raises(MissingError):
                await member.stat(location)
        url = f"{swift.account(MEMBER)}/{options.container}_{IMAGE}"
        headers = {"X-Auth-Token": swift.keystone.token(MEMBER)}
        (await beside(ask, "HEAD", url, headers=headers)).expect(404)

    async def test_who_may_read(self, store: SwiftStore, swift: Swift) -> None:
        member = await beside(self.mine, store, swift, MEMBER)
        stranger = await beside(self.mine, store, swift, STRANGER)
        location = await write(member, IMAGE, b"content")
        project = await beside(swift.keystone.project_id, STRANGER)

        async def denied() -> bool:
            try:
                return await read(stranger, location) != b"content"
            except DeniedError:
                return True

        assert await denied()
        await member.set_acls(location, read_projects=[project])
        assert not await denied()
        await member.set_acls(location)
        assert await denied()
        await member.set_acls(location, public=True)
        assert not await denied()
        with pytest.raises(DeniedError):
            await stranger.delete(location)
        await member.set_acls(location, write_projects=[project])
        await member.delete(location)
        with pytest.raises(MissingError):
            await member.set_acls(location)

    async def test_a_token_is_enough_to_read_with(self, swift: Swift) -> None:
        """Of whatever account, on the one Swift that tokens are for."""
        changed: dict[str, Any] = {"accounts": {}, "multi_tenant": True}
        async with opened(options_of(swift, **changed, endpoint=f"{swift.url}/v1")) as store:
            member = await beside(self.mine, store, swift, MEMBER)
            location = await write(member, IMAGE, b"content")
            await member.set_acls(location, public=True)
            reader = store.acting_for(await beside(swift.keystone.token, STRANGER))
            assert await read(reader, location, Span(1, 3)) == b"on"
            elsewhere = Location(location.uri.replace("127.0.0.1", "127.0.0.2"))
            with pytest.raises(DeniedError, match="not on the caller's Swift"):
                await reader.stat(elsewhere)
            await member.delete(location)

    async def test_a_token_for_no_swift(self, store: SwiftStore) -> None:
        with pytest.raises(ValueError, match="which Swift"):
            store.acting_for("token")

    async def test_an_upload_that_fails_leaves_no_container(
        self, store: SwiftStore, swift: Swift
    ) -> None:
        member = await beside(self.mine, store, swift, MEMBER)

        url = f"{swift.account(MEMBER)}/{store._options.container}_{IMAGE}"
        headers = {"X-Auth-Token": swift.keystone.token(MEMBER)}

        def status() -> int:
            return ask("HEAD", url, headers=headers).status

        async def fail() -> None:
            async with member.create(IMAGE, 3 << 20) as writer:
                await writer.write(bytes(2 << 20))
                await beside(until, "the container", lambda: status() == 204)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await beside(status) == 404

    async def test_nobody(self, store: SwiftStore, swift: Swift) -> None:
        location = Location(f"swift+http://127.0.0.1/v1/AUTH_a/{IMAGE}/{IMAGE}")
        for operation in (store.stat(location), write(store, IMAGE, b"x")):
            with pytest.raises(DeniedError):
                await operation
        member = await beside(self.mine, store, swift, MEMBER)
        with pytest.raises(DeniedError, match="not on the caller's Swift"):
            await member.stat(location)
        with pytest.raises(InvalidError):
            await member.stat(Location(f"swift+config://ref1/{IMAGE}/{IMAGE}"))

    async def test_a_token_that_has_ended(self, store: SwiftStore, swift: Swift) -> None:
        token = await beside(swift.keystone.expired_token, MEMBER)
        member = store.acting_for(token, await beside(swift.account, MEMBER))
        with pytest.raises(DeniedError) as error:
            await write(member, IMAGE, b"x")
        assert token not in str(error.value) + repr(member)


async def test_a_store_of_one_account_acts_for_nobody(one: OneAccount) -> None:
    with pytest.raises(ValueError, match="nobody"):
        one.store.acting_for("token", "http://127.0.0.1/v1/AUTH_a")
