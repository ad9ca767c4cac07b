"""Where real clients are pointed: at Glance and at our catalog, each directly and through a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from harness.catalog import Catalog
from harness.clients import Endpoint
from harness.glance import Glance
from harness.images_api import ImagesApi
from harness.keystone import MEMBER, Keystone
from harness.node import running_node
from harness.stores import Store

# By name, and who runs the Glance that has it.
STORES = {
    "swift": "glance_on_swift",
    "segments": "glance_on_swift",
    "s3": "glance_on_swift",
    "rbd": "glance_on_ceph",
    "gateway": "glance_on_ceph",
}


@pytest.fixture(scope="session", params=STORES)
def stored_glance(request: pytest.FixtureRequest) -> tuple[Glance, Store]:
    """Give a Glance and one of its object stores, one after the other."""
    glance, stores = request.getfixturevalue(STORES[request.param])
    return glance, stores[request.param]


@contextmanager
def _maybe_proxied(
    place: str, url: str, headers: dict[str, str], logging_in: dict[str, str], directory: Path
) -> Iterator[Endpoint]:
    source = ImagesApi(url, headers)
    proxy = running_node(directory, url) if place == "proxy" else nullcontext()
    with proxy as node:
        reached = node.url if node else url
        finding = "OS_IMAGE_ENDPOINT_OVERRIDE" if "OS_AUTH_URL" in logging_in else "OS_ENDPOINT"
        yield Endpoint(reached, headers, {**logging_in, finding: reached}, source, node)


@pytest.fixture(
    scope="session",
    params=["glance-direct", "glance-proxy", "catalog-direct", "catalog-proxy"],
)
def endpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    """Give every way to the images of Glance and of our catalog, one after the other."""
    upstream, place = request.param.split("-")
    directory = tmp_path_factory.mktemp(request.param)
    if upstream == "glance":
        keystone: Keystone = request.getfixturevalue("keystone")
        glance: Glance = request.getfixturevalue("glance")
        url, headers, logging_in = glance.url, glance.headers, keystone.environment(MEMBER)
    else:
        catalog: Catalog = request.getfixturevalue("catalog")
        url, headers, logging_in = catalog.url, {}, {"OS_AUTH_TYPE": "none"}
    with _maybe_proxied(place, url, headers, logging_in, directory) as found:
        yield found


@pytest.fixture(scope="session", params=["catalog-direct", "catalog-proxy", "glance-proxy"])
def open_endpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    """Give the ways that qemu's HTTP driver can go: without a token, and to what answers HEAD."""
    upstream, place = request.param.split("-")
    directory = tmp_path_factory.mktemp(f"open-{request.param}")
    fixture = "catalog" if upstream == "catalog" else "glance_open"
    running: Catalog | Glance = request.getfixturevalue(fixture)
    with _maybe_proxied(place, running.url, {}, {}, directory) as found:
        yield found


@pytest.fixture(scope="session")
def proxy_of_open_glance(
    glance_open: Glance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    """Give a proxy in front of a Glance that may have images on a source without ranges."""
    directory = tmp_path_factory.mktemp("without-ranges")
    with _maybe_proxied("proxy", glance_open.url, {}, {}, directory) as found:
        yield found
