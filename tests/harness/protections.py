"""Files of property protections, and every use of every property by every role, asked of a catalog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.http import ask
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, GLANCE, MEMBER, READER, Keystone, User
from harness.roles import V21

V20 = "application/openstack-images-v2.0-json-patch"
BILLER = User("biller", "demo", ("member", "billing"))

BY_ROLES = """
[^x_everybody$]
create = @
read = @
update = @
delete = @
[^x_nobody$]
create = !
read = !
update = !
delete = !
[^x_admin$]
create = Admin
read = admin
update = admin
delete = admin
[^x_member$]
create = member, admin
read = member
update = member
delete = member
[^x_hidden$]
create = admin
read = !
update = !
delete = !
[^x_blind$]
create = @
read = admin
update = admin
delete = admin
[^x_kept$]
create = admin
read = @
update = billing
delete = admin,billing
[^x_empty$]
create = admin
read =
update =
delete =
[^x_first]
create = @
read = @
update = admin
delete = admin
[^x_first_of_two$]
create = admin
read = admin
update = @
delete = @
[^x_service$]
create = admin,service
read = @
update = service
delete = service
[os_glance_import_task]
create = !
read = !
update = !
delete = !
"""
RULES = """
"everybody_may": "@"
"admins_may": "role:admin"
"billers_may": "role:billing or role:admin"
"""
BY_POLICIES = """
[^x_everybody$]
create = everybody_may
read = @
update = everybody_may
delete = @
[^x_admin$]
create = admins_may
read = admins_may
update = admins_may
delete = !
[^x_kept$]
create = billers_may
read = @
update = billers_may
delete = admins_may
[^x_default$]
create = nowhere_to_be_found
read = nowhere_to_be_found
update = nowhere_to_be_found
delete = nowhere_to_be_found
[^x_blind$]
create = @
read = admins_may
update = billers_may
delete = billers_may
"""

# By name; a service shows its token beside its user's.
ROLES: dict[str, tuple[User, User | None]] = {
    "admin": (ADMIN, None),
    "member": (MEMBER, None),
    "reader": (READER, None),
    "biller": (BILLER, None),
    "a service for a member": (MEMBER, GLANCE),
}
NAMES = (
    *("x_everybody", "x_nobody", "x_admin", "x_member", "x_hidden", "x_blind", "x_kept"),
    *("x_empty", "x_first", "x_first_of_two", "x_service", "x_default", "unnamed"),
)
USES: dict[str, tuple[str, Any]] = {
    "add": (V21, {"op": "add", "path": "/NAME", "value": "new"}),
    "add, of the old kind": (V20, {"add": "/NAME", "value": "new"}),
    "replace": (V21, {"op": "replace", "path": "/NAME", "value": "new"}),
    "remove": (V21, {"op": "remove", "path": "/NAME"}),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One use of one property by one role, and what came of it."""

    use: str
    name: str
    role: str
    status: int
    shown: (
        str | None
    )  # the property in the answer; `-` where it is not shown, None without a record
    after: str | None  # as an administrator sees it behind that
    others: int | None = None  # how many of the other properties that there were are still there


@dataclass
class Protected:
    """A catalog, or Glance, with a file of protections."""

    url: str
    keystone: Keystone

    def cases(self, names: tuple[str, ...] = NAMES) -> Iterator[Case]:
        """Make every use of every property in every role."""
        admin = ImagesApi(self.url, self._headers("admin"))
        owner = self.keystone.project_id(MEMBER)
        given = {name: "old" for name in names if self._may_create(admin, name)}
        for role in ROLES:
            caller = ImagesApi(self.url, self._headers(role))
            for name in names:
                yield self._create(caller, name, role)
                image = admin.create(owner=owner, **given)
                yield self._show(caller, image, name, role)
                yield self._list(caller, image, name, role)
                for use, (media_type, change) in USES.items():
                    image = admin.create(owner=owner, **given)
                    one = {key: text.replace("NAME", name) for key, text in change.items()}
                    answer = caller.call(
                        *("PATCH", f"/{image}"),
                        document=[one],
                        headers={"Content-Type": media_type},
                    )
                    shown = answer.json().get(name, "-") if answer.status == 200 else None
                    record = admin.call("GET", f"/{image}").expect(200).json()
                    others = len(given.keys() & record.keys() - {name})
                    after = record.get(name, "-")
                    yield Case(use, name, role, answer.status, shown, after, others)

    def _may_create(self, admin: ImagesApi, name: str) -> bool:
        return admin.call("POST", "", document={name: "old"}).expect(201, 403).status == 201

    def _create(self, caller: ImagesApi, name: str, role: str) -> Case:
        answer = caller.call("POST", "", document={name: "new"})
        shown = answer.json().get(name, "-") if answer.status == 201 else None
        return Case("create", name, role, answer.status, shown, None)

    def _show(self, caller: ImagesApi, image: str, name: str, role: str) -> Case:
        answer = caller.call("GET", f"/{image}").expect(200)
        return Case("show", name, role, answer.status, answer.json().get(name, "-"), None)

    def _list(self, caller: ImagesApi, image: str, name: str, role: str) -> Case:
        answer = ask("GET", f"{self.url}/v2/images?limit=1&id=in:{image}", headers=caller.headers)
        (found,) = answer.expect(200).json()["images"]
        return Case("list", name, role, answer.status, found.get(name, "-"), None)

    def _headers(self, role: str) -> dict[str, str]:
        user, service = ROLES[role]
        headers = {"X-Auth-Token": self.keystone.token(user)}
        if service is not None:
            headers["X-Service-Token"] = self.keystone.token(service)
        return headers
