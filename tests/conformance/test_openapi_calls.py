"""schemathesis makes calls out of docs/openapi.json: no 5xx, and every answer is one that it describes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from harness.catalog import Catalog, running_catalog
from harness.catalog_database import IN_LONG_RUNS, server_of
from harness.http import ask
from harness.program import REPOSITORY
from registry.web.openapi.operations import OPERATIONS
from registry.web.openapi.records import V20_PATCH, V21_PATCH

EXAMPLES, MANY = 12, 150  # of each call and kind
DOCUMENT = json.loads((REPOSITORY / "docs/openapi.json").read_text())
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_schema_conformance, response_headers_conformance),
]
OCTETS = {"Content-Type": "application/octet-stream"}
schemathesis.serializer.alias([V21_PATCH, V20_PATCH], "application/json")
schemathesis.serializer.alias("application/partial-upload", "application/octet-stream")
KINDS = ("as it comes", "queued", "saving", "active", "deactivated")
NAMES = [f"{each.method} {each.path}" for each in OPERATIONS]


def made(url: str, kind: str) -> dict[str, str]:
    """Make an image of a kind; return what paths may name of it."""
    described: dict[str, Any] = {"disk_format": "raw", "container_format": "bare", "tags": ["t"]}
    image = ask("POST", f"{url}/v2/images", document=described).expect(201).json()["id"]
    path = f"{url}/v2/images/{image}"
    if kind == "saving":
        headers = {**OCTETS, "Upload-Complete": "?0"}
        ask("PUT", f"{path}/file", headers=headers, body=b"data").expect(204)
    elif kind != "queued":
        ask("PUT", f"{path}/file", headers=OCTETS, body=b"data").expect(204)
    ask("POST", f"{path}/members", document={"member": "m"}).expect(200)
    if kind == "deactivated":
        ask("POST", f"{path}/actions/deactivate").expect(204)
    return {"image_id": image, "tag": "t", "member": "m", "store": "file"}


def filled(catalog: Catalog) -> Catalog:
    """Make an image of each kind: lists have something to show."""
    for kind in KINDS[1:]:
        made(catalog.url, kind)
    return catalog


def try_out(url: str, name: str, mode: GenerationMode, examples: int) -> None:
    """Make so many calls of a kind: what its description allows, or what it does not."""
    method, path = name.split(" ")
    calls = SCHEMA[path][method].as_strategy(generation_mode=mode)
    kinds = st.sampled_from(KINDS)

    @given(case=calls, kind=kinds)
    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    def call(case: Case[Any], kind: str) -> None:
        if kind != "as it comes" and "{image_id}" in path:
            named = made(url, kind)
            case.path_parameters = {
                part: named.get(part, value) for part, value in case.path_parameters.items()
            }
        if "wait" in case.query:
            case.query["wait"] = "0"
        case.call_and_validate(base_url=url, checks=CHECKS, allow_redirects=False, timeout=30)

    call()


@pytest.fixture(scope="module", params=IN_LONG_RUNS)
def catalog(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Catalog]:
    """Run a catalog, on every kind of database in long runs."""
    server = server_of(request)
    directory = tmp_path_factory.mktemp("called")
    if server is None:
        with running_catalog(directory) as running:
            yield filled(running)
        return
    name = server.create()
    try:
        connection = f"[database]\nconnection = {server.url(name)}\n"
        with running_catalog(directory, connection) as running:
            yield filled(running)
    finally:
        server.drop(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: str(mode.value))
def test_a_few_calls(catalog: Catalog, name: str, mode: GenerationMode) -> None:
    if mode is GenerationMode.POSITIVE or can_be_wrong(name):
        try_out(catalog.url, name, mode, EXAMPLES)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: str(mode.value))
def test_many_calls(catalog: Catalog, name: str, mode: GenerationMode) -> None:
    if mode is GenerationMode.POSITIVE or can_be_wrong(name):
        try_out(catalog.url, name, mode, MANY)


def can_be_wrong(name: str) -> bool:
    """Tell whether there is something in a call that could be."""
    method, path = name.split(" ")
    described = DOCUMENT["paths"][path][method.lower()]
    return bool(described.get("parameters") or described.get("requestBody"))
