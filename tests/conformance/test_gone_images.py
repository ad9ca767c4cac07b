"""Images that are deleted behind the proxy's back, by the real Glance and by our catalog."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harness.catalog import Catalog
from harness.glance import Glance
from harness.http import ask
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import GLANCE, Keystone
from harness.node import Node, running_node
from harness.waiting import until

FORGET_SECONDS = 90.0  # an upstream that failed once is asked again after 30
DATA = random_bytes((3 << 20) + 5, seed=8)
POLL = """
[upstream]
gone_poll_seconds = 1
[service_user]
auth_url = {url}
username = {user.name}
password = {user.password}
project_name = {user.project}
"""


def chunk_files(node: Node) -> int:
    return sum(1 for path in node.cache.glob("chunks/*/*") if path.is_file())


def cached(api: ImagesApi, node: Node) -> str:
    """Upload an image, and have the node cache it; its id."""
    image_id = api.add(DATA)
    answer = ask("GET", f"{node.url}/v2/images/{image_id}/file", headers=api.headers)
    assert answer.expect(200).body == DATA
    return image_id


def figure(node: Node, name: str) -> float:
    return node.metrics()[f"cacheproxy_{name}_total"]


def forgotten(node: Node, count: int) -> bool:
    return figure(node, "images_forgotten") == count


def delete_one_by_one(api: ImagesApi, node: Node, images: tuple[str, str]) -> None:
    """Delete two equal images directly: the chunks go with the last one."""
    assert chunk_files(node) == 4
    for number, image_id in enumerate(images, 1):
        api.call("DELETE", f"/{image_id}").expect(204)
        until("it to be forgotten", partial(forgotten, node, number), FORGET_SECONDS)
        assert chunk_files(node) == (4 if number == 1 else 0)


def test_a_stock_glance_is_asked_by_the_proxys_own_account(
    glance: Glance, keystone: Keystone, tmp_path: Path
) -> None:
    api = ImagesApi(glance.url, glance.headers)
    more = POLL.format(url=keystone.url, user=GLANCE)
    with running_node(tmp_path, glance.url, more=more) as node:
        images = cached(api, node), cached(api, node)
        checks = figure(node, "image_checks")
        until("two rounds", lambda: figure(node, "image_checks") >= checks + 4, FORGET_SECONDS)
        assert figure(node, "images_forgotten") == 0
        delete_one_by_one(api, node, images)


def test_our_catalog_tells_by_itself(catalog: Catalog, tmp_path: Path) -> None:
    api = ImagesApi(catalog.url, {})
    with running_node(tmp_path, catalog.url) as node:
        delete_one_by_one(api, node, (cached(api, node), cached(api, node)))


def test_a_delete_through_the_proxy_is_noticed_at_once(glance: Glance, tmp_path: Path) -> None:
    api = ImagesApi(glance.url, glance.headers)
    with running_node(tmp_path, glance.url) as node:
        kept, gone = cached(api, node), cached(api, node)
        ask("DELETE", f"{node.url}/v2/images/{gone}", headers=api.headers).expect(204)
        until("it to be forgotten", partial(forgotten, node, 1))
        assert chunk_files(node) == 4
        # A refusal says nothing: neither to a stranger, nor about what is gone already.
        ask("DELETE", f"{node.url}/v2/images/{gone}", headers=api.headers).expect(404)
        ask("DELETE", f"{node.url}/v2/images/{kept}").expect(401)
        assert ask("GET", f"{node.url}/v2/images/{kept}/file", headers=api.headers).body == DATA
        assert figure(node, "images_forgotten") == 1
