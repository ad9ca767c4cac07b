"""Who may do what: every role, call and visibility, asked of a running catalog or Glance.

The table itself, what each must answer, is `roles_table.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.http import Answer, ask
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, MEMBER, PARTNER, READER, STRANGER, Keystone, User

BOSS = User("boss", "demo", ("admin",))
OUTSIDER = User("outsider", "elsewhere", ("reader",))
SERVICE = User("nova", "service", ("service",))
ADDED = (BOSS, OUTSIDER, SERVICE)

# Columns of the table; the images are of the project demo, shared ones are shared with PARTNER's.
ROLES: dict[str, User | str | None] = {
    "no token": None,
    "bad token": "gAAAAA-bad",
    "service": SERVICE,
    "reader elsewhere": OUTSIDER,
    "member elsewhere": STRANGER,
    "image member": PARTNER,
    "reader": READER,
    "member": MEMBER,
    "admin": BOSS,
    "admin elsewhere": ADMIN,
}
VISIBILITIES = ("private", "shared", "community", "public")
V21 = "application/openstack-images-v2.1-json-patch"
OCTETS = "application/octet-stream"
DATA = b"0123456789"


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `{id}` is the image's, `{url}` the endpoint's, `{demo}` and the like are projects'."""

    method: str
    path: str
    document: Any = None
    body: bytes | None = None
    content_type: str | None = None
    data: bool = False  # the image has data
    deactivated: bool = False
    begun: bool = False  # an upload of it has begun that may be continued
    changes: bool = False  # where it is allowed, the image is another one afterwards
    headers: tuple[tuple[str, str], ...] = ()

    def send(self, url: str, headers: dict[str, str], names: dict[str, str]) -> Answer:
        """Send it, with `names` put in."""

        def filled(text: str) -> str:
            for name, value in names.items():
                text = text.replace("{" + name + "}", value)
            return text

        body = self.body
        headers = {**headers, **dict(self.headers)}
        if self.document is not None:
            body = filled(json.dumps(self.document)).encode()
            headers["Content-Type"] = self.content_type or "application/json"
        elif self.content_type is not None:
            headers["Content-Type"] = self.content_type
        return ask(self.method, f"{url}/v2{filled(self.path)}", headers=headers, body=body)


def _patch(name: str, value: str, operation: str = "replace") -> Call:
    change = {"op": operation, "path": f"/{name}", "value": value}
    return Call("PATCH", "/images/{id}", [change], content_type=V21, changes=True)


# By what the table calls them.
CALLS: dict[str, Call] = {
    "list, `?visibility=`": Call("GET", "/images?visibility={visibility}&limit=1000"),
    "show": Call("GET", "/images/{id}"),
    "create": Call(*("POST", "/images", {"visibility": "{visibility}"}), changes=False),
    "create for `demo`": Call("POST", "/images", {"visibility": "{visibility}", "owner": "{demo}"}),
    "change the name": _patch("name", "x"),
    "make it private": _patch("visibility", "private"),
    "make it a community image": _patch("visibility", "community"),
    "make it public": _patch("visibility", "public"),
    "change the owner": _patch("owner", "{elsewhere}"),
    "tag": Call("PUT", "/images/{id}/tags/t", changes=True),
    "remove a tag": Call("DELETE", "/images/{id}/tags/given", changes=True),
    "upload": Call("PUT", "/images/{id}/file", body=DATA, content_type=OCTETS, changes=True),
    "download": Call("GET", "/images/{id}/file", data=True),
    "download from a store": Call("GET", "/images/{id}/file?prefer=fast", data=True),
    "download, deactivated": Call("GET", "/images/{id}/file", data=True, deactivated=True),
    "take data out of a store": Call("DELETE", "/stores/fast/{id}"),
    "add a location": Call(
        "POST", "/images/{id}/locations", {"url": "{url}/versions"}, changes=True
    ),
    "read locations": Call("GET", "/images/{id}/locations", data=True),
    "deactivate": Call("POST", "/images/{id}/actions/deactivate", data=True, changes=True),
    "reactivate": Call(
        "POST", "/images/{id}/actions/reactivate", data=True, deactivated=True, changes=True
    ),
    "list members": Call("GET", "/images/{id}/members"),
    "show the member": Call("GET", "/images/{id}/members/{partners}"),
    "add a member": Call("POST", "/images/{id}/members", {"member": "{elsewhere}"}, changes=True),
    "remove the member": Call("DELETE", "/images/{id}/members/{partners}", changes=True),
    "accept": Call("PUT", "/images/{id}/members/{partners}", {"status": "accepted"}, changes=True),
    "delete": Call("DELETE", "/images/{id}", changes=True),
}
# Not about an image: one row each.
OTHER_CALLS: dict[str, Call] = {
    "schemas": Call("GET", "/schemas/image"),
    "import methods": Call("GET", "/info/import"),
    "stores": Call("GET", "/info/stores"),
    "stores in detail": Call("GET", "/info/stores/detail"),
}
# What Glance does not have.
OUR_CALLS: dict[str, Call] = {
    "manifest": Call("GET", "/images/{id}/manifest", data=True),
    "right to download": Call("GET", "/images/{id}/download-right", data=True),
    "manifest, deactivated": Call("GET", "/images/{id}/manifest", data=True, deactivated=True),
    "right to download, deactivated": Call(
        "GET", "/images/{id}/download-right", data=True, deactivated=True
    ),
    "upload, to be continued": Call(
        *("PUT", "/images/{id}/file"),
        body=DATA,
        content_type=OCTETS,
        headers=(("Upload-Complete", "?0"),),
        changes=True,
    ),
    "how far an upload is": Call("HEAD", "/images/{id}/upload", begun=True),
    "continue an upload": Call(
        *("PATCH", "/images/{id}/upload"),
        body=DATA,
        content_type="application/partial-upload",
        headers=(("Upload-Complete", "?1"), ("Upload-Offset", str(len(DATA)))),
        begun=True,
        changes=True,
    ),
    "give an upload up": Call("DELETE", "/images/{id}/upload", begun=True, changes=True),
}
OUR_OTHER_CALLS: dict[str, Call] = {
    "changes": Call("GET", "/cacheproxy/changes"),
    "find by content": Call("GET", "/cacheproxy/content/md5:00"),
}


def add_users(keystone: Keystone) -> None:
    """Make the users that only this table needs."""
    for user in ADDED:
        keystone.add_user(user)


def headers_of(keystone: Keystone, role: str) -> dict[str, str]:
    """Return the header fields that say who calls."""
    who = ROLES[role]
    if who is None:
        return {}
    return {"X-Auth-Token": who if isinstance(who, str) else keystone.token(who)}


@dataclass
class World:
    """An endpoint, and the images that are asked about there."""

    url: str
    keystone: Keystone
    names: dict[str, str] = field(default_factory=dict)
    _kept: dict[tuple[str, bool, bool, bool], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Learn the projects' ids."""
        self.names["url"] = self.url
        for user in (MEMBER, STRANGER, PARTNER):
            self.names[user.project] = self.keystone.project_id(user)

    def rows(self, call: Call, visibility: str) -> Iterator[str]:
        """Ask in every role's name; yield what came of it."""
        for role in ROLES:
            yield self._ask(call, visibility, role)

    def _ask(self, call: Call, visibility: str, role: str) -> str:
        needs_image = "{id}" in call.path or call.path.startswith("/images?")
        state = (visibility, call.data, call.deactivated, call.begun)
        names = {**self.names, "visibility": visibility}
        if needs_image:
            if state not in self._kept:
                self._kept[state] = self._make(visibility, call)
            names["id"] = self._kept[state]
        answer = call.send(self.url, headers_of(self.keystone, role), names)
        if answer.status == 202:  # Glance's database bears no second writer
            ImagesApi(self.url, headers_of(self.keystone, "admin elsewhere")).settle(names["id"])
        if call.changes and answer.status < 300:
            del self._kept[state]
        if call.path.startswith("/images?") and answer.status == 200:
            ids = [image["id"] for image in answer.json()["images"]]
            return "listed" if names["id"] in ids else "not"
        return str(answer.status)

    def _make(self, visibility: str, call: Call) -> str:
        admin = ImagesApi(self.url, {"X-Auth-Token": self.keystone.token(ADMIN)})
        image = admin.create(visibility=visibility, owner=self.names["demo"], tags=["given"])
        if visibility == "shared":
            member = self.names["partners"]
            admin.call("POST", f"/{image}/members", document={"member": member}).expect(200)
            partner = ImagesApi(self.url, {"X-Auth-Token": self.keystone.token(PARTNER)})
            accepted = {"status": "accepted"}
            partner.call("PUT", f"/{image}/members/{member}", document=accepted).expect(200)
        if call.data:
            admin.upload(image, DATA)
        if call.begun:
            told = {"Content-Type": OCTETS, "Upload-Complete": "?0"}
            admin.call("PUT", f"/{image}/file", body=DATA, headers=told).expect(204)
        if call.deactivated:
            admin.call("POST", f"/{image}/actions/deactivate").expect(204)
        return image
