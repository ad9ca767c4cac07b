"""Creating, showing, listing, patching, tagging and deleting images over HTTP."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import pytest

V20 = {"Content-Type": "application/openstack-images-v2.0-json-patch"}


async def test_create_and_show(client: Any, catalog: Any) -> None:
    answer = await client.call("POST", "", json={"name": "näme", "tags": ["b", "a", "b"], "k": "v"})
    image = answer.json()
    assert (answer.status, answer.content_type) == (201, "application/json")
    assert answer.headers["Location"] == f"{catalog.url}/v2/images/{image['id']}"
    assert str(UUID(image["id"])) == image["id"]
    assert image["created_at"] == image["updated_at"]
    assert image["created_at"][10::9] == "TZ"
    told = {
        name: value for name, value in image.items() if name not in {"created_at", "updated_at"}
    }
    assert told == {
        "id": image["id"],
        "name": "näme",
        "status": "queued",
        "visibility": "shared",
        "owner": None,
        "protected": False,
        "os_hidden": False,
        "container_format": None,
        "disk_format": None,
        "min_disk": 0,
        "min_ram": 0,
        "size": None,
        "virtual_size": None,
        "checksum": None,
        "os_hash_algo": None,
        "os_hash_value": None,
        "os_manifest": None,
        "tags": ["a", "b"],
        "k": "v",
        "self": f"/v2/images/{image['id']}",
        "file": f"/v2/images/{image['id']}/file",
        "schema": "/v2/schemas/image",
    }
    assert await client.show(image["id"]) == image


async def test_a_chosen_id_once(client: Any) -> None:
    chosen = str(uuid4())
    assert await client.create(id=chosen) == chosen
    assert (await client.call("POST", "", json={"id": chosen})).status == 409
    assert (await client.call("DELETE", f"/{chosen}")).status == 204
    assert (await client.call("POST", "", json={"id": chosen})).status == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("{", 400),
        ("[" * 100_000, 400),
        ("[]", 400),
        ('"x"', 400),
        ("\udcff", 400),
        ({"id": "no-uuid"}, 400),
        ({"name": 5}, 400),
        ({"name": "n" * 256}, 400),
        ({"name": "\0"}, 400),
        ({"name": "\ud800"}, 400),
        ({"k": 5}, 400),
        ({"k" * 256: "v"}, 400),
        ({"tags": "x"}, 400),
        ({"tags": ["x" * 256]}, 400),
        ({"disk_format": "floppy"}, 400),
        ({"visibility": "secret"}, 400),
        ({"min_ram": 1 << 31}, 400),
        ({"status": "active"}, 403),
        ({"size": 1}, 403),
        ({"stores": "x"}, 403),
        ({"deleted": "x"}, 403),
        ({"os_glance_import_task": "x"}, 403),
        ({"locations": [{"url": "file:///etc/passwd", "metadata": {}}]}, 403),
        ({f"p{n}": "x" for n in range(129)}, 413),
        ({"tags": [str(n) for n in range(129)]}, 413),
        ({"k": "x" * (8 << 20)}, 413),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_refused_creations(client: Any, body: Any, status: int) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    answer = await client.call("POST", "", data=BytesIO(text.encode(errors="surrogateescape")))
    assert answer.status == status
    assert (await client.call("GET", "")).json()["images"] == []


async def test_pages_are_linked(client: Any) -> None:
    made = [await client.create(name=f"n{n % 2}", os_distro="d") for n in range(5)]
    await client.create()
    seen: list[str] = []
    link = "/v2/images?os_distro=d&sort=name:asc&limit=2"
    firsts = set()
    while link:
        async with client.session.get(link) as answer:
            page = await answer.json()
        firsts.add(page["first"])
        seen += [image["id"] for image in page["images"]]
        link = page.get("next")
    assert sorted(seen) == sorted(made)
    assert firsts == {"/v2/images?os_distro=d&sort=name%3Aasc&limit=2"}


async def test_a_refused_question(client: Any) -> None:
    for query in ("limit=x", "marker=nope", "sort_key=nope", "size_min=a", "visibility=x"):
        assert (await client.call("GET", f"?{query}")).status == 400


async def test_patch(client: Any) -> None:
    image_id = await client.create(k="v")
    answer = await client.patch(
        image_id,
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "remove", "path": "/k"},
        {"op": "add", "path": "/a~1b", "value": "x"},
    )
    image = answer.json()
    assert (answer.status, image["name"], image["a/b"], "k" in image) == (200, "new", "x", False)
    assert await client.show(image_id) == image


@pytest.mark.parametrize("sent", ["1:1048576:" + 64 * "0", "x" * 100_000, "", None, 5, ["\0"]])
async def test_a_manifest_that_a_client_copies_is_ignored(client: Any, sent: Any) -> None:
    image_id = await client.create(os_manifest=sent, k="v")
    before = await client.show(image_id)
    assert (before["os_manifest"], before["k"]) == (None, "v")
    for operation in ("add", "replace", "remove"):
        step = {"op": operation, "path": "/os_manifest", "value": sent}
        answer = await client.patch(image_id, step)
        assert (answer.status, answer.json()) == (200, before)
    old = json.dumps([{"add": "/os_manifest", "value": sent}, {"add": "/l", "value": "w"}])
    answer = await client.call("PATCH", f"/{image_id}", data=old, headers=V20)
    assert (answer.status, answer.json()["os_manifest"], answer.json()["l"]) == (200, None, "w")
    assert (await client.upload(image_id, b"data")).status == 204
    stored = (await client.show(image_id))["os_manifest"]
    assert stored.startswith("1:1048576:")
    assert stored != sent
    step = {"op": "replace", "path": "/os_manifest", "value": sent}
    assert (await client.patch(image_id, step)).json()["os_manifest"] == stored


async def test_only_the_whole_of_it_is_a_path(client: Any) -> None:
    image_id = await client.create()
    step = {"op": "add", "path": "/os_manifest/0", "value": "x"}
    assert (await client.patch(image_id, step)).status == 400


async def test_the_old_patch(client: Any) -> None:
    image_id = await client.create()
    text = json.dumps([{"add": "/k", "value": "v"}])
    for status in (200, 409):
        assert (await client.call("PATCH", f"/{image_id}", data=text, headers=V20)).status == status


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"op": "add", "path": "/k"}, 400),
        ({"op": "add", "path": "/size", "value": 1}, 403),
        ({"op": "add", "path": "/locations/-", "value": {"url": "file:///x", "metadata": {}}}, 403),
        ({"op": "remove", "path": "/absent"}, 409),
        ({"op": "replace", "path": "/tags", "value": [str(n) for n in range(129)]}, 413),
    ],
)
async def test_all_of_a_patch_or_nothing(client: Any, operation: Any, status: int) -> None:
    image_id = await client.create()
    before = await client.show(image_id)
    answer = await client.patch(image_id, {"op": "add", "path": "/k", "value": "v"}, operation)
    assert answer.status == status
    assert await client.show(image_id) == before


async def test_patches_of_another_type(client: Any) -> None:
    image_id = await client.create()
    answer = await client.call("PATCH", f"/{image_id}", json=[])
    assert answer.status == 415
    assert "application/openstack-images-v2.1-json-patch" in answer.headers["Accept-Patch"]


async def test_tags(client: Any) -> None:
    image_id = await client.create()
    for tag in ("b", "a", "a", "x%20y"):
        assert (await client.call("PUT", f"/{image_id}/tags/{tag}")).status == 204
    assert (await client.show(image_id))["tags"] == ["a", "b", "x y"]
    assert (await client.call("DELETE", f"/{image_id}/tags/b")).status == 204
    assert (await client.call("DELETE", f"/{image_id}/tags/b")).status == 404
    assert (await client.call("PUT", f"/{image_id}/tags/{'t' * 256}")).status == 400
    assert (await client.show(image_id))["tags"] == ["a", "x y"]


async def test_the_quota_of_tags(client: Any) -> None:
    image_id = await client.create(tags=[str(n) for n in range(128)])
    assert (await client.call("PUT", f"/{image_id}/tags/0")).status == 204
    assert (await client.call("PUT", f"/{image_id}/tags/one-more")).status == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/%00"),
        ("GET", "/%FF"),
        ("GET", "/%ED%A0%80"),
        ("GET", "/" + "x" * 8000),
        ("GET", "?name=%FF"),
        ("GET", "?name=%00"),
        ("GET", "?%FF=%ED%A0%80"),
        ("GET", "?marker=%00"),
        ("GET", "?created_at=gt:0001-01-01T00:00:00%2B14:00"),
        ("GET", "?size_min=-9223372036854775807"),
        ("PUT", "/{image}/tags/%00"),
        ("PUT", "/{image}/tags/%FF"),
        ("DELETE", "/{image}/tags/%ED%A0%80"),
    ],
    ids=lambda value: value[:30],
)
async def test_strange_text_is_never_a_fault_of_ours(
    client: Any, raw: Any, method: str, path: str
) -> None:
    target = "/v2/images" + path.replace("{image}", await client.create())
    raw[1].write(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    status = int((await raw[0].readline()).split()[1])
    assert 200 <= status < 500


async def test_many_at_once(client: Any) -> None:
    made = await asyncio.gather(*(client.create(name=str(n)) for n in range(40)))
    await asyncio.gather(*(client.call("PUT", f"/{made[0]}/tags/{n}") for n in range(40)))
    assert len((await client.show(made[0]))["tags"]) == 40
    page = (await client.call("GET", "?limit=100")).json()
    assert {image["id"] for image in page["images"]} == set(made)


async def test_delete(client: Any, catalog: Any) -> None:
    image_id = await client.add(b"data")
    assert catalog.files() == {image_id: b"data"}
    assert (await client.call("DELETE", f"/{image_id}")).status == 204
    assert catalog.files() == {}
    for method, path in (("GET", ""), ("GET", "/file"), ("DELETE", ""), ("PUT", "/tags/x")):
        assert (await client.call(method, f"/{image_id}{path}")).status == 404
    assert (await client.call("GET", "")).json()["images"] == []


async def test_protected_images(client: Any) -> None:
    image_id = await client.create(protected=True)
    assert (await client.call("DELETE", f"/{image_id}")).status == 403
    await client.patch(image_id, {"op": "replace", "path": "/protected", "value": False})
    assert (await client.call("DELETE", f"/{image_id}")).status == 204


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf{}", '{"name": "x"}'.encode("utf-16"), b"\xff"])
async def test_documents_are_of_utf_8(client: Any, body: bytes) -> None:
    assert (await client.call("POST", "", data=body)).status == 400
    assert (await client.call("GET", "")).json()["images"] == []
