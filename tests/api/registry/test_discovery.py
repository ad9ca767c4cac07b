"""Versions, schemas, and the form of refusals."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 300), ("/versions", 200), ("/v1/images", 300), ("/v9", 300), ("/v2.8/images", 300)],
)
async def test_versions(client: Any, catalog: Any, path: str, status: int) -> None:
    async with client.session.get(path) as answer:
        assert answer.status == status
        versions = (await answer.json())["versions"]
    assert [version["id"] for version in versions if version["status"] == "CURRENT"] == ["v2.17"]
    assert len(versions) == 11
    assert {version["links"][0]["href"] for version in versions} == {f"{catalog.url}/v2/"}


@pytest.mark.parametrize("version", ["v2", "v2.0", "v2.17"])
async def test_every_told_version_stands_in_paths(client: Any, version: str) -> None:
    async with client.session.get(f"/{version}/images") as answer:
        assert (answer.status, (await answer.json())["images"]) == (200, [])


@pytest.mark.parametrize("path", ["/v2/", "/v2/nothing", "/v2/info/stores"])
async def test_what_is_not_there(client: Any, path: str) -> None:
    async with client.session.get(path) as answer:
        assert answer.status == 404


async def test_records_fit_the_schema(client: Any) -> None:
    await client.add(b"data")
    async with client.session.get("/v2/schemas/images") as answer:
        schema = await answer.json()
    page = (await client.call("GET", "")).json()
    assert len(page["images"]) == 1
    jsonschema.validate(page, schema)
    async with client.session.get("/v2/schemas/image") as answer:
        image_schema = await answer.json()
    assert schema["properties"]["images"]["items"] == image_schema
    properties = image_schema["properties"]
    assert properties["os_distro"]["is_base"] is False
    assert "is_base" not in properties["name"]
    assert image_schema["additionalProperties"] == {"type": "string"}
    assert set(page["images"][0]) <= set(properties)


async def test_ways_of_import(client: Any) -> None:
    async with client.session.get("/v2/info/import") as answer:
        assert (await answer.json())["import-methods"]["value"] == [
            *("glance-direct", "web-download", "copy-image")
        ]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v2/images", "GET, POST"),
        ("HEAD", "/v2/images", "GET, POST"),
        ("POST", "/v2/images/x", "GET, PATCH, DELETE"),
        ("POST", "/v2/images/x/file", "GET, HEAD, PUT"),
        ("GET", "/v2/images/x/tags/y", "PUT, DELETE"),
        ("DELETE", "/v2/schemas/image", "GET"),
    ],
)
async def test_wrong_methods(client: Any, method: str, path: str, allowed: str) -> None:
    async with client.session.request(method, path) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, allowed)
        assert answer.headers["X-OpenStack-Request-ID"].startswith("req-")


@pytest.mark.parametrize(
    ("accept", "content_type", "start"),
    [
        ("application/json", "application/json", '{"error": {"code": 404, "title": "Not Found"'),
        ("*/*", "text/html", "<html>\n <head>\n  <title>404 Not Found</title>"),
        ("text/plain", "text/plain", "404 Not Found\n\nNo image found with ID <x>\n"),
    ],
)
async def test_refusals_have_the_form_that_is_asked_for(
    client: Any, accept: str, content_type: str, start: str
) -> None:
    answer = await client.call("GET", "/<x>", headers={"Accept": accept})
    assert (answer.status, answer.content_type) == (404, content_type)
    text = answer.text
    assert text.startswith(start)
    assert ("<x>" in text) == (content_type != "text/html")


@pytest.mark.parametrize(
    ("given", "answered"),
    [
        ("req-mine", "req-mine"),
        ("mine", "req-mine"),
        ("x" * 64, "req-" + "x" * 64),
        ("a b", None),
        ("", None),
    ],
)
async def test_request_ids(client: Any, given: str, answered: str | None) -> None:
    answer = await client.call("GET", "", headers={"X-OpenStack-Request-ID": given})
    found = answer.headers["x-openstack-request-id"]
    assert found == answered if answered else (found.startswith("req-") and len(found) == 40)


async def test_a_request_id_that_is_too_long(client: Any) -> None:
    answer = await client.call("GET", "", headers={"X-OpenStack-Request-ID": "x" * 65})
    assert answer.status == 431
    assert len(answer.headers["x-openstack-request-id"]) == 40


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/x"),
        ("DELETE", "/x"),
        ("GET", "/x/file"),
        ("PUT", "/x/tags/y"),
        ("DELETE", "/x/tags/y"),
    ],
)
async def test_a_body_where_none_belongs(client: Any, method: str, path: str) -> None:
    assert (await client.call(method, path, data=b"body")).status == 400
