"""What stands before the paths, of the real Glance and of our catalog: versions, CORS, proxies in front."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.catalog import STORES_OF_GLANCE, WITH_KEYSTONE, running_catalog
from harness.glance import running_glance
from harness.http import ask
from harness.keystone import MEMBER, Keystone

FRONT = """
[cors]
allowed_origin = https://horizon.example.com,http://other.example.com:8080
max_age = 60
allow_methods = GET,PUT
[oslo_middleware]
enable_proxy_headers_parsing = true
"""
EVERY_ORIGIN = """
[cors]
allowed_origin = *
allow_credentials = false
expose_headers =
max_age = 0
allow_headers = X-Auth-Token
"""
ORIGIN = "https://horizon.example.com"
IMAGE = "00000000-0000-0000-0000-000000000000"
TYPE = "application/vnd.openstack.images-"
COMPARED = ("Location", "Vary")


@dataclass(frozen=True, slots=True)
class Sides:
    """The URLs of Glance and of the catalog, configured alike, and a token for both."""

    urls: tuple[str, str]
    token: str

    def both(self, method: str, path: str, **headers: str) -> list[Any]:
        """Ask both; return what each answers, of which nothing is its own."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if named.pop("X-Auth-Token", "yes") == "yes":
            named["X-Auth-Token"] = self.token
        return [told(url, method, path, named) for url in self.urls]


def told(url: str, method: str, path: str, headers: dict[str, str]) -> Any:
    answer = ask(method, url + path, headers=headers)
    host = url.removeprefix("http://")
    shown = {
        name.lower(): value.replace(host, "<host>")
        for name, value in answer.headers.items()
        if name.title() in COMPARED or name.lower().startswith("access-control-")
    }
    text = answer.body.decode().replace(host, "<host>")
    if not text.startswith("{"):
        return answer.status, shown, bool(text)
    document = json.loads(text)
    if "versions" in document:
        return (
            answer.status,
            shown,
            sorted(each["links"][0]["href"] for each in document["versions"]),
        )
    return answer.status, shown, sorted(document)


@pytest.fixture(scope="module", params=["some origins", "every origin", "none"])
def sides(
    request: pytest.FixtureRequest, keystone: Keystone, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sides]:
    front = {"some origins": FRONT, "every origin": EVERY_ORIGIN, "none": ""}[request.param]
    theirs, ours = tmp_path_factory.mktemp("glance"), tmp_path_factory.mktemp("catalog")
    more = (STORES_OF_GLANCE + WITH_KEYSTONE).format(directory=ours, keystone=keystone.url)
    with (
        running_glance(theirs, keystone, front) as glance,
        running_catalog(ours, more + front) as catalog,
    ):
        yield Sides((glance.url, catalog.url), keystone.token(MEMBER))


VERSIONS = [
    ("GET", "/images", {"Accept": f"{TYPE}v2"}),
    ("GET", "/images", {"Accept": f"{TYPE}v2.15"}),
    ("GET", "/images", {"Accept": f"{TYPE}v2", "X_Auth_Token": ""}),
    ("GET", f"/images/{IMAGE}", {"Accept": f"{TYPE}v2"}),
    ("GET", "/schemas/image", {"Accept": f"{TYPE}v2.0"}),
    ("GET", "/v2/images", {"Accept": f"{TYPE}v2"}),
    ("GET", "/v2/images", {"Accept": f"{TYPE}v9"}),
    ("GET", "/images", {"Accept": f"{TYPE}v2.99"}),
    ("GET", "/images", {"Accept": TYPE}),
    ("GET", "/images", {"Accept": f"{TYPE}2"}),
    ("GET", "/images", {"Accept": f"{TYPE}v2, */*"}),
    ("GET", "/", {"Accept": f"{TYPE}v2"}),
    ("GET", "/versions", {"Accept": f"{TYPE}v2"}),
    ("GET", "/healthcheck", {"Accept": f"{TYPE}v2"}),
    ("POST", "/images", {"Accept": f"{TYPE}v2"}),
    ("DELETE", "/images", {"Accept": f"{TYPE}v2"}),
    ("GET", "/nothing", {"Accept": f"{TYPE}v2"}),
    ("GET", "//v2/images", {}),
    ("GET", "///v2.15/images", {}),
    ("GET", "//v2/images", {"X_Auth_Token": ""}),
    ("GET", "//v2//images", {}),
    ("GET", "/v2//images", {}),
    ("GET", f"/v2/images//{IMAGE}//file", {}),
    ("GET", "//v1/images", {}),
    ("GET", "//", {}),
    ("GET", "//versions", {}),
    ("GET", "//v2", {}),
]
ASKS = {"Origin": ORIGIN, "Access_Control_Request_Method": "PUT"}
CROSS = [
    ("OPTIONS", "/v2/images", ASKS),
    ("OPTIONS", f"/v2/images/{IMAGE}/file", {**ASKS, "X_Auth_Token": ""}),
    ("OPTIONS", "/v2/images", {"Origin": ORIGIN}),
    ("OPTIONS", "/v2/images", {}),
    ("OPTIONS", "/v2/images", {**ASKS, "Origin": "https://evil.example.com"}),
    ("OPTIONS", "/v2/images", {**ASKS, "Access_Control_Request_Method": "DELETE"}),
    ("OPTIONS", "/v2/images", {**ASKS, "Access_Control_Request_Method": "put"}),
    (
        "OPTIONS",
        "/v2/images",
        {**ASKS, "Access_Control_Request_Headers": "x-auth-token, Content-Type,,"},
    ),
    ("OPTIONS", "/v2/images", {**ASKS, "Access_Control_Request_Headers": "X-Auth-Token, X-Other"}),
    ("OPTIONS", "/versions", ASKS),
    ("OPTIONS", "/", ASKS),
    ("OPTIONS", "/nothing", {}),
    ("OPTIONS", "/healthcheck", ASKS),
    ("GET", "/v2/images", {"Origin": ORIGIN}),
    ("GET", "/v2/images", {"Origin": "http://other.example.com:8080"}),
    ("GET", "/v2/images", {"Origin": "https://evil.example.com"}),
    ("GET", "/v2/images", {"Origin": ORIGIN, "X_Auth_Token": ""}),
    ("GET", f"/v2/images/{IMAGE}", {"Origin": ORIGIN}),
    ("GET", "/versions", {"Origin": ORIGIN}),
    ("GET", "/healthcheck", {"Origin": ORIGIN}),
]
PROXIED = [
    ("GET", path, headers)
    for path in ("/", "/versions", "/v2")
    for headers in (
        {"X_Forwarded_Host": "images.example.com"},
        {"X_Forwarded_Host": "images.example.com:80"},
        {"X_Forwarded_Prefix": "/image"},
        {"Forwarded": "proto=https;host=images.example.com, proto=http"},
        {"Forwarded": "Proto=https ; HOST = images.example.com:443"},
        {"Forwarded": "for=192.0.2.1", "X_Forwarded_Host": "images.example.com"},
    )
]
# Glance's server believes these from its own machine, whatever is configured.
SCHEMES = [
    ("GET", "/versions", {"X_Forwarded_Proto": "https"}),
    ("GET", "/v2", {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "images.example.com:443"}),
]


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [*VERSIONS, *CROSS, *PROXIED],
    ids=lambda each: json.dumps(each) if isinstance(each, dict) else each,
)
def test_alike(sides: Sides, method: str, path: str, headers: dict[str, str]) -> None:
    theirs, ours = sides.both(method, path, **headers)
    assert ours == theirs


@pytest.mark.parametrize("sides", ["some origins"], indirect=True)
@pytest.mark.parametrize(("method", "path", "headers"), SCHEMES)
def test_schemes_alike(sides: Sides, method: str, path: str, headers: dict[str, str]) -> None:
    theirs, ours = sides.both(method, path, **headers)
    assert ours == theirs
    assert "https://" in str(ours)


def test_a_new_image_is_where_the_proxy_says(sides: Sides) -> None:
    headers = {"X-Auth-Token": sides.token, "Content-Type": "application/json"}
    proxied = {"Forwarded": "proto=https;host=images.example.com:443"}
    found = []
    for url in sides.urls:
        answer = ask(
            "POST", f"{url}/v2/images", headers={**headers, **proxied, "Origin": ORIGIN}, body=b"{}"
        ).expect(201)
        found.append(
            answer.headers["location"]
            .replace(answer.json()["id"], "<id>")
            .replace(url.removeprefix("http://"), "<host>")
        )
    assert found[1] == found[0]
