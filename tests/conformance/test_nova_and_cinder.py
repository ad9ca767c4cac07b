"""Nova's and Cinder's own image code, unpatched, with the proxy for its Glance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.glance import Glance
from harness.image_code import CallError, ImageCode, image_code
from harness.images import MIB, random_bytes
from harness.images_api import ImagesApi
from harness.keystone import MEMBER, STRANGER, Keystone
from harness.node import Node, running_node

SIZE = 3 * MIB + 4321
RAW = {"disk_format": "raw", "container_format": "bare"}
HITS = 'cacheproxy_requests_total{result="hit"}'
FETCHED = "cacheproxy_upstream_bytes_total"


@pytest.fixture
def node(glance: Glance, tmp_path: Path) -> Iterator[Node]:
    """Run a proxy with nothing in it."""
    (tmp_path / "node").mkdir()
    with running_node(tmp_path / "node", glance.url) as node:
        yield node


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a file with an image's data."""
    path = tmp_path / "data"
    path.write_bytes(random_bytes(SIZE, seed=SIZE))
    return path


@contextmanager
def counted(node: Node, **expected: int) -> Iterator[None]:
    """Check how many hits there are meanwhile, and how many bytes are fetched."""
    before = node.metrics()
    yield
    after = node.metrics()
    told = {"hits": after[HITS] - before[HITS], "fetched": after[FETCHED] - before[FETCHED]}
    assert told == expected


def test_nova(keystone: Keystone, glance: Glance, node: Node, data: Path, tmp_path: Path) -> None:
    with image_code("nova", node.url, keystone, tmp_path) as nova:
        image = a_snapshot(nova, keystone, data)
        shown = nova.call("show", MEMBER, image_id=image)
        assert (shown["status"], shown["size"]) == ("active", SIZE)
        source = ImagesApi(glance.url, glance.headers)
        assert source.show(image)["os_hash_value"] == hashlib.sha512(data.read_bytes()).hexdigest()
        for name, user, expected in (
            ("first", MEMBER, {"hits": 0, "fetched": SIZE}),
            ("second", MEMBER, {"hits": 1, "fetched": 0}),
            ("theirs", STRANGER, {"hits": 1, "fetched": 0}),
        ):
            with counted(node, **expected):
                nova.call("download", user, image_id=image, dst_path=tmp_path / name)
            assert (tmp_path / name).read_bytes() == data.read_bytes()
        assert image in [each["id"] for each in nova.call("detail", MEMBER)]
        assert nova.call("delete", MEMBER, image_id=image)
        for user in (MEMBER, STRANGER):
            with pytest.raises(CallError, match="ImageNotFound"):
                nova.call("download", user, image_id=image, dst_path=tmp_path / "gone")
    assert source.call("GET", f"/{image}").status == 404


def a_snapshot(nova: ImageCode, keystone: Keystone, data: Path) -> str:
    """Make an image in the steps in which Nova makes a snapshot for somebody else."""
    theirs = {"instance_owner": keystone.project_id(STRANGER), "image_type": "snapshot"}
    meta = {"name": "snapshot", "visibility": "shared", "properties": theirs, **RAW}
    image = str(nova.call("create", MEMBER, image_meta=meta)["id"])
    nova.call(
        "update",
        MEMBER,
        image_id=image,
        image_meta={"name": "snapshot", **RAW},
        data=data,
        purge_props=False,
    )
    return image


def test_nova_finds_wrong_bytes(
    keystone: Keystone, glance: Glance, node: Node, data: Path, tmp_path: Path
) -> None:
    source = ImagesApi(glance.url, glance.headers)
    image = source.add(data)
    stored = glance.directory / "images" / image
    changed = bytearray(stored.read_bytes())
    changed[SIZE // 2] ^= 1
    stored.write_bytes(changed)
    # Without the proxy Nova's own verification finds it, at the end; with it, the proxy does.
    for name, url, error in (
        ("direct", glance.url, "Corrupt image download"),
        ("proxied", node.url, "ChunkedEncodingError|ConnectionError|OSError"),
    ):
        (tmp_path / name).mkdir()
        with image_code("nova", url, keystone, tmp_path / name) as nova:
            for _ in range(2):
                with pytest.raises(CallError, match=error):
                    nova.call("download", MEMBER, image_id=image, dst_path=tmp_path / "wrong")
    source.delete(image)


def test_cinder(keystone: Keystone, node: Node, data: Path, tmp_path: Path) -> None:
    with image_code("cinder", node.url, keystone, tmp_path) as cinder:
        meta = {"name": "volume", "properties": {"kind": "volume"}, **RAW}
        image = cinder.call("create", MEMBER, image_meta=meta)["id"]
        cinder.call("update", MEMBER, image_id=image, image_meta={}, data=data, purge_props=False)
        assert cinder.call("show", MEMBER, image_id=image)["size"] == SIZE
        assert "fast" in str(cinder.call("get_stores", MEMBER))
        for name, expected in (
            ("first", {"hits": 0, "fetched": SIZE}),
            ("second", {"hits": 1, "fetched": 0}),
        ):
            with counted(node, **expected):
                cinder.call("download", MEMBER, image_id=image, to=tmp_path / name)
            assert (tmp_path / name).read_bytes() == data.read_bytes()
        cinder.call("delete", MEMBER, image_id=image)
        with pytest.raises(CallError, match="ImageNotFound"):
            cinder.call("show", MEMBER, image_id=image)
