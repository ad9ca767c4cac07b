"""Swift and Keystone behind TLS: whom the driver trusts, for both of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backends.errors import UnavailableError
from backends.spans import Span
from backends.swift.options import SwiftAccount, SwiftOptions
from backends.swift.settings import swift_options
from contracts.nginx import encrypting, make_certificates
from contracts.subject import PIECE, pattern, read, write
from contracts.swift import ACCOUNT_KEY, ACCOUNT_USER, Container, opened, options_of
from harness.keystone import GLANCE
from harness.swift import Swift


@dataclass(frozen=True)
class Encrypted:
    """Where both are, and who vouches for them."""

    keystone: str
    account: str
    ca_file: Path


@pytest.fixture(scope="module")
def encrypted(swift: Swift, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    directory = tmp_path_factory.mktemp("tls")
    with encrypting(directory, _origin(swift.keystone.url), swift.url) as (keystone, store):
        account = store + urlsplit(swift.account(GLANCE)).path
        yield Encrypted(keystone, account, directory / "ca.pem")


@pytest.fixture
async def options(swift: Swift, encrypted: Encrypted) -> AsyncIterator[SwiftOptions]:
    """Return what trusts nobody yet."""
    account = SwiftAccount(encrypted.keystone, ACCOUNT_USER, ACCOUNT_KEY)
    chosen = options_of(swift, accounts={"ref1": account}, endpoint=encrypted.account)
    yield chosen
    Container(swift, chosen.container).remove()


async def check(options: SwiftOptions) -> None:
    content = pattern(3 * PIECE)
    async with opened(options) as store:
        location = await write(store, "image", content)
        assert location.uri.startswith("swift+https://")
        assert await read(store, location) == content
        assert await read(store, location, Span(PIECE, PIECE + 1)) == content[PIECE : PIECE + 1]
        await store.delete(location)


@pytest.mark.parametrize("large_object_bytes", [2, 4 * PIECE])
async def test_an_authority_of_ones_own(
    options: SwiftOptions, encrypted: Encrypted, large_object_bytes: int
) -> None:
    told = {"swift_store_cacert": str(encrypted.ca_file)}
    trusting = swift_options(told | {"swift_store_multi_tenant": "true"})
    sizes = replace(options, large_object_bytes=large_object_bytes, segment_bytes=PIECE)
    await check(replace(sizes, ca_file=trusting.ca_file))


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")  # who logs in with that is told so
async def test_anybody(options: SwiftOptions) -> None:
    insecure = {"swift_store_auth_insecure": "true", "swift_store_multi_tenant": "true"}
    verify = swift_options(insecure).verify_certificates
    await check(replace(options, verify_certificates=verify))


@pytest.mark.parametrize("trusts_another", [True, False])
@pytest.mark.parametrize("logs_in_plainly", [True, False])
async def test_a_stranger_is_not_trusted(
    swift: Swift, options: SwiftOptions, tmp_path: Path, trusts_another: bool, logs_in_plainly: bool
) -> None:
    """Neither Keystone nor Swift, of which each is asked first by one of these."""
    make_certificates(tmp_path)
    options = replace(options, ca_file=tmp_path / "ca.pem" if trusts_another else None)
    if logs_in_plainly:
        account = SwiftAccount(swift.keystone.url, ACCOUNT_USER, ACCOUNT_KEY)
        options = replace(options, accounts={"ref1": account})
    async with opened(options) as store:
        with pytest.raises(UnavailableError) as caught:
            await write(store, "image", b"x")
    assert ("trusted TLS" in str(caught.value)) == logs_in_plainly
    assert "SSL" in str(caught.value) or logs_in_plainly


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
