"""Our catalog with the real Keystone: what a token opens, and a proxy in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.catalog import WITH_KEYSTONE, Catalog, running_catalog
from harness.http import Answer, ask
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, GLANCE, MEMBER, READER, STRANGER, Keystone, User
from harness.node import Node, running_node
from harness.waiting import until

DATA = random_bytes((2 << 20) + 7, seed=71)
ACCOUNT = """
[service_user]
auth_url = {url}
username = {user.name}
password = {user.password}
project_name = {user.project}
"""
# An application credential that may list images, and nothing else.
CREDENTIAL = {
    "name": "lists",
    "access_rules": [{"service": "image", "method": "GET", "path": "/v2/images"}],
}
FORGET_SECONDS = 90.0


@pytest.fixture(scope="module")
def secured(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    directory = tmp_path_factory.mktemp("catalog")
    with running_catalog(directory, WITH_KEYSTONE.format(keystone=keystone.url)) as running:
        yield running


@pytest.fixture(scope="module")
def node(
    secured: Catalog, keystone: Keystone, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    more = ACCOUNT.format(url=keystone.url, user=GLANCE)
    with running_node(tmp_path_factory.mktemp("node"), secured.url, more=more) as running:
        yield running


def shown(keystone: Keystone, user: User) -> dict[str, str]:
    return {"X-Auth-Token": keystone.token(user)}


def test_no_token_and_bad_ones(secured: Catalog, keystone: Keystone) -> None:
    revoked = keystone.new_token(MEMBER)
    keystone.revoke(revoked)
    for token in (None, "", "bad", revoked, keystone.expired_token(MEMBER)):
        headers = {} if token is None else {"X-Auth-Token": token}
        answer = ask("GET", f"{secured.url}/v2/images", headers=headers).expect(401)
        assert answer.headers["www-authenticate"] == f'Keystone uri="{keystone.url}"'


def test_a_service_goes_on_when_its_users_token_has_ended(
    secured: Catalog, keystone: Keystone
) -> None:
    headers = {"X-Auth-Token": keystone.expired_token(MEMBER)}
    for service, status in ((STRANGER, 401), (ADMIN, 401), (GLANCE, 200)):
        headers["X-Service-Token"] = keystone.token(service)
        ask("GET", f"{secured.url}/v2/images", headers=headers).expect(status)


def test_an_application_credential_does_what_its_rules_say(
    secured: Catalog, keystone: Keystone
) -> None:
    own = shown(keystone, MEMBER)
    token = keystone.new_token(MEMBER)
    subject = {"X-Auth-Token": token, "X-Subject-Token": token}
    user = ask("GET", f"{keystone.url}/auth/tokens", headers=subject).json()["token"]["user"]["id"]
    made = ask(
        "POST",
        f"{keystone.url}/users/{user}/application_credentials",
        headers=own,
        document={"application_credential": CREDENTIAL},
    ).expect(201)
    credential = made.json()["application_credential"]
    identity = {
        "methods": ["application_credential"],
        "application_credential": {"id": credential["id"], "secret": credential["secret"]},
    }
    document = {"auth": {"identity": identity}}
    issued = ask("POST", f"{keystone.url}/auth/tokens", document=document).expect(201)
    headers = {"X-Auth-Token": issued.headers["x-subject-token"]}
    ask("GET", f"{secured.url}/v2/images", headers=headers).expect(200)
    ask("GET", f"{secured.url}/v2/schemas/image", headers=headers).expect(401)
    ask("POST", f"{secured.url}/v2/images", headers=headers, document={}).expect(401)


def test_everybody_gets_through_the_proxy_what_the_catalog_gives(
    secured: Catalog, node: Node, keystone: Keystone
) -> None:
    owner = ImagesApi(node.url, shown(keystone, MEMBER))
    image = owner.add(DATA)  # through the proxy

    def download(headers: dict[str, str]) -> Answer:
        return ask("GET", f"{node.url}/v2/images/{image}/file", headers=headers)

    assert download(owner.headers).expect(200).body == DATA
    assert download(shown(keystone, ADMIN)).expect(200).body == DATA
    download(shown(keystone, READER)).expect(403)  # of its project, but may not download
    download(shown(keystone, STRANGER)).expect(404)
    answer = download({}).expect(401)
    assert answer.headers["www-authenticate"] == f'Keystone uri="{keystone.url}"'
    ended = {
        "X-Auth-Token": keystone.expired_token(MEMBER),
        "X-Service-Token": keystone.token(GLANCE),
    }
    assert download(ended).expect(200).body == DATA
    assert node.metrics()["cacheproxy_images_forgotten_total"] == 0
    ImagesApi(secured.url, shown(keystone, MEMBER)).delete(image)  # behind its back
    until(
        "it to be forgotten",
        lambda: node.metrics()["cacheproxy_images_forgotten_total"] == 1,
        FORGET_SECONDS,
    )
    for program in (secured.program, node.program):
        told = program.log.read_text()
        for token in (keystone.token(MEMBER), keystone.token(GLANCE), ended["X-Auth-Token"]):
            assert token not in told
