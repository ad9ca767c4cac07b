"""Metadata definitions over HTTP: what the stories told to Glance and to ours do not try."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from registry.domain.metadefs.files import read_file
from registry.web.metadefs import BODY_BYTES_MAX

WHOLE: dict[str, Any] = {
    "namespace": "OS::ü one",
    "objects": [{"name": "o", "properties": {"p": {"title": "T", "type": "string"}}}],
    "tags": [{"name": "t/u"}],
}


async def call(client: Any, method: str, path: str, **more: Any) -> Any:
    return await client.call(method, f"/../metadefs/{path}", **more)


async def test_a_namespace_is_where_it_is_said_to_be(client: Any, catalog: Any) -> None:
    made = await call(client, "POST", "namespaces", json=WHOLE)
    assert made.status == 201
    location = made.headers["Location"]
    assert location == f"{catalog.url}/v2/metadefs/namespaces/OS::%C3%BC%20one"
    async with client.session.get(location) as answer:
        shown = await answer.json()
    assert shown["namespace"] == WHOLE["namespace"]
    assert "owner" not in shown  # nobody logs in


async def test_a_slash_leads_nowhere(client: Any) -> None:
    assert (await call(client, "POST", "namespaces", json=WHOLE)).status == 201
    path = "namespaces/OS::%C3%BC%20one/tags"
    assert (await call(client, "GET", f"{path}/t")).status == 404
    assert (await call(client, "GET", f"{path}/t%2Fu")).status == 404


@pytest.mark.parametrize("path", ["namespaces", "namespaces/n/tags", "namespaces/n/objects"])
async def test_a_body_has_an_end(client: Any, path: str) -> None:
    body = BytesIO(b'{"namespace": "n", "name": "' + bytes(BODY_BYTES_MAX) + b'"}')
    answer = await call(client, "POST", path, data=body)
    assert answer.status == 413
    assert (await call(client, "GET", "namespaces")).json()["namespaces"] == []


async def test_what_is_shown_of_a_namespace_may_be_sent_back(client: Any) -> None:
    """So `glance md-namespace-update` does; what the namespace has stays as it is."""
    types = [{"name": "OS::Nova::Flavor"}]
    whole = WHOLE | {"namespace": "n", "resource_type_associations": types}
    assert (await call(client, "POST", "namespaces", json=whole)).status == 201
    shown = (await call(client, "GET", "namespaces/n")).json()
    read_only = {"self", "schema", "created_at", "updated_at"}
    sent = {name: value for name, value in shown.items() if name not in read_only}
    changed = await call(client, "PUT", "namespaces/n", json=sent | {"description": "new"})
    assert changed.status == 200
    now = (await call(client, "GET", "namespaces/n")).json()
    assert now == shown | {"description": "new", "updated_at": now["updated_at"]}


async def test_what_the_api_shows_may_be_saved_as_a_file_and_loaded(client: Any) -> None:
    assert (await call(client, "POST", "namespaces", json=WHOLE)).status == 201
    shown = (await call(client, "GET", "namespaces/OS::%C3%BC%20one")).json()
    found = read_file(shown)
    assert found.namespace.name == WHOLE["namespace"]
    assert [(item.kind.name, item.name) for item in found.items] == [
        ("object", "o"),
        ("tag", "t/u"),
    ]
    assert found.items[0].content["properties"] == WHOLE["objects"][0]["properties"]
