from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backends.base import WriteStore
from backends.errors import DeniedError, MissingError, UnavailableError
from backends.http.store import HttpStore
from backends.location import Location
from backends.options import HttpOptions
from backends.spans import Span
from contracts.nginx import PASSWORD, QUOTED_PASSWORD, USER, Nginx, serving
from contracts.store import ReadContract
from contracts.subject import Subject, pattern, read


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with serving(tmp_path_factory.mktemp("nginx")) as nginx:
        yield nginx


@pytest.fixture(autouse=True)
def _no_images_are_left(nginx: Nginx) -> Iterator[None]:
    yield
    for path in nginx.images.iterdir():
        path.unlink()


@asynccontextmanager
async def opened(options: HttpOptions | None = None) -> AsyncIterator[HttpStore]:
    store = HttpStore(options)
    try:
        yield store
    finally:
        await store.aclose()


def http_subject(store: HttpStore, nginx: Nginx, base: str) -> Subject:
    async def put(name: str, content: bytes) -> Location:
        nginx.place(name, content)
        return Location(f"{base}/{name}")

    async def leftovers() -> set[str]:
        return set()

    return Subject(store, put, leftovers, Location(f"{base}/absent"))


class TestRanges(ReadContract):
    @pytest.fixture
    async def subject(self, nginx: Nginx) -> AsyncIterator[Subject]:
        async with opened() as store:
            yield http_subject(store, nginx, f"http://{nginx.authority}/ranges")


class TestIgnoredRanges(ReadContract):
    @pytest.fixture
    async def subject(self, nginx: Nginx) -> AsyncIterator[Subject]:
        async with opened() as store:
            yield http_subject(store, nginx, f"http://{nginx.authority}/whole")


class TestUnknownLength(ReadContract):
    @pytest.fixture
    async def subject(self, nginx: Nginx) -> AsyncIterator[Subject]:
        async with opened() as store:
            subject = http_subject(store, nginx, f"http://{nginx.authority}/stream")
            subject.tells_size = False
            yield subject


class TestCredentialsOverTls(ReadContract):
    @pytest.fixture
    async def subject(self, nginx: Nginx) -> AsyncIterator[Subject]:
        async with opened(HttpOptions(ca_file=nginx.ca_file)) as store:
            base = f"https://{USER}:{QUOTED_PASSWORD}@{nginx.tls_authority}/private"
            subject = http_subject(store, nginx, base)
            subject.secrets = (QUOTED_PASSWORD, USER)
            yield subject


async def test_it_is_read_only() -> None:
    async with opened() as store:
        assert not isinstance(store, WriteStore)
        assert repr(store) == "HttpStore()"


@pytest.mark.parametrize("user", ["", f"{USER}@", f"{USER}:wrong@", f"other:{QUOTED_PASSWORD}@"])
async def test_wrong_credentials(nginx: Nginx, user: str) -> None:
    nginx.place("image", b"x")
    location = Location(f"http://{user}{nginx.authority}/private/image")
    async with opened() as store:
        for span in (None, Span(0, 1)):
            with pytest.raises(DeniedError) as denied:
                await read(store, location, span)
            assert "wrong" not in str(denied.value)
        with pytest.raises(DeniedError):
            await store.stat(location)


async def test_an_authority_that_is_not_trusted(nginx: Nginx, tmp_path: Path) -> None:
    nginx.place("image", b"x")
    location = Location(f"https://{USER}:{QUOTED_PASSWORD}@{nginx.tls_authority}/private/image")
    async with opened() as store:
        with pytest.raises(UnavailableError, match="no trusted TLS connection") as error:
            await read(store, location)
        assert QUOTED_PASSWORD not in repr(error.value)
        assert PASSWORD not in repr(error.value)
    async with opened(HttpOptions(verify_certificates=False)) as store:
        assert await read(store, location) == b"x"
    no_certificate = tmp_path / "ca.pem"
    for content in (None, "no certificate"):
        if content is not None:
            no_certificate.write_text(content)
        with pytest.raises(ValueError, match=r"CA file .*ca\.pem"):
            HttpStore(HttpOptions(ca_file=no_certificate))


async def test_connections_are_used_again_and_bounded(nginx: Nginx) -> None:
    content = pattern(8 << 20)
    nginx.place("image", content)
    location = Location(f"http://{nginx.authority}/ranges/image")
    async with opened(HttpOptions(connections=1)) as store:
        for start in range(0, len(content), 1 << 20):
            span = Span(start, start + (1 << 20))
            assert await read(store, location, span) == content[start : start + (1 << 20)]
        with pytest.raises(MissingError):
            await read(store, Location(f"http://{nginx.authority}/ranges/absent"))
        assert await read(store, location) == content


async def test_a_redirect(nginx: Nginx) -> None:
    nginx.place("index.html", b"content")
    async with opened() as store:
        location = Location(f"http://{nginx.authority}/once/")
        assert await read(store, location) == b"content"
        assert await read(store, location, Span(1, 3)) == b"on"
        assert (await store.stat(location)).size == len(b"content")
