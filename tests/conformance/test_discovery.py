"""What clients find out before they do anything: as Glance tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.catalog import STORES_OF_GLANCE, WITH_KEYSTONE, Catalog, running_catalog
from harness.glance import Glance
from harness.http import Answer, ask
from harness.keystone import Keystone

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
NONE_OF_THEM = "name=no-image-has-this-name"  # Glance is not asked by these tests alone
ABOUT_VERSIONS = (
    *("/", "/versions", "/versions/", "/healthcheck", "/healthcheck/"),
    *("/v2", "/v2/", "/v2.17", "/v2.99/images"),
    *(f"/v2.9/images?{NONE_OF_THEM}", f"/v2.14/images?{NONE_OF_THEM}"),
    *("/v1", "/v1/images", "/v3/images", "/x", "/images", "/v2/x", "/v2/images/", "/v2/schemas"),
)
IMAGE = "/v2/images/00000000-0000-4000-8000-000000000001"
ABOUT_IMAGES = (
    *("/v2/schemas/image", "/v2/schemas/tasks", "/v2/info/import", "/v2/info/stores"),
    *("/v2/info/stores/detail", "/v2/images", IMAGE, f"{IMAGE}/file", f"{IMAGE}/members"),
    *(f"{IMAGE}/members/p", f"{IMAGE}/tags/x", f"{IMAGE}/tags", f"{IMAGE}/x"),
    *(f"{IMAGE}/actions/deactivate", f"{IMAGE}/actions/x", "/v2/stores/fast/x"),
)
OURS = {"os_manifest", "minimum", "maximum"}  # in schemas


@pytest.fixture(scope="module")
def catalog(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    directory = tmp_path_factory.mktemp("catalog")
    more = (STORES_OF_GLANCE + WITH_KEYSTONE).format(directory=directory, keystone=keystone.url)
    with running_catalog(directory, more) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Both:
    """Glance and our catalog, with the same stores, asked the same."""

    glance: Glance
    catalog: Catalog

    def ask(self, method: str, path: str, *, known: bool = True) -> tuple[Answer, Answer]:
        """Return Glance's answer and ours, to somebody who shows a token or not."""
        headers = self.glance.headers if known else {}
        theirs, ours = (
            ask(method, side.url + path, headers=headers) for side in (self.glance, self.catalog)
        )
        return theirs, ours


@pytest.fixture(scope="module")
def both(glance: Glance, catalog: Catalog) -> Both:
    return Both(glance, catalog)


def document(body: bytes) -> Any:
    """Read JSON, however it is spaced; other texts count as they are."""
    return json.loads(body) if body.startswith(b"{") else body


@pytest.mark.parametrize("known", [True, False], ids=["somebody", "nobody"])
@pytest.mark.parametrize("path", ABOUT_VERSIONS)
def test_versions(both: Both, path: str, known: bool) -> None:
    for method in METHODS:
        theirs, ours = both.ask(method, path, known=known)
        assert ours.status == theirs.status, method
        if theirs.status < 400:
            for name in ("content-type", "location"):
                said = theirs.headers.get(name, "").replace(both.glance.url, both.catalog.url)
                assert ours.headers.get(name, "").partition(";")[0] == said.partition(";")[0]
            urls = both.glance.url.encode(), both.catalog.url.encode()
            assert document(ours.body) == document(theirs.body.replace(*urls)), method


@pytest.mark.parametrize("path", ABOUT_IMAGES)
def test_methods(both: Both, path: str) -> None:
    for method in METHODS:
        theirs, ours = both.ask(method, path)
        if (path, method) == (f"{IMAGE}/file", "HEAD"):
            assert (theirs.status, ours.status) == (405, 404)  # that there is none is told
            continue
        assert ours.status == theirs.status, method
        allowed = ours.headers.get("allow", "").replace("GET, HEAD, PUT", "GET, PUT")
        assert allowed == theirs.headers.get("allow", ""), method


@pytest.mark.parametrize("name", ["image", "images", "member", "members", "task", "tasks"])
def test_schemas(both: Both, name: str) -> None:
    theirs, ours = both.ask("GET", f"/v2/schemas/{name}")
    assert meaning(ours.expect(200).json()) == meaning(theirs.expect(200).json())


def meaning(schema: Any) -> Any:
    """Return a schema without words for people, orders, and what is ours.

    Properties of a common meaning that are no base are named by a file of Glance's packages, which
    the tests' Glance is without.
    """
    if isinstance(schema, list):
        return sorted((meaning(each) for each in schema), key=repr)
    if not isinstance(schema, dict):
        return schema
    return {
        name: each.replace("([0-9a-fA-F])", "[0-9a-fA-F]") if name == "pattern" else meaning(each)
        for name, each in schema.items()
        if name not in OURS
        and not (name == "description" and isinstance(each, str))
        and not (isinstance(each, dict) and each.get("is_base") is False)
    }
