"""Who may do what with metadata definitions: every role, call and visibility.

The namespaces are of the project demo.  The table itself, what each must answer, is `METADEFS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.http import ask
from harness.keystone import ADMIN, MEMBER, Keystone
from harness.roles import ROLES, Call, headers_of

NAMESPACE_VISIBILITIES = ("private", "public")
_TEXT: dict[str, str] = {"title": "T", "type": "string"}
_NAMESPACE = "/metadefs/namespaces/{name}"
_NEW: dict[str, dict[str, Any]] = {
    "objects": {"name": "new"},
    "properties": {"name": "new", **_TEXT},
    "tags": {"tags": [{"name": "new"}]},
    "resource_types": {"name": "new"},
}
_HAS = {"objects": "o", "properties": "p", "tags": "t", "resource_types": "r"}
_TITLES = {
    "objects": "objects",
    "properties": "properties",
    "tags": "tags",
    "resource_types": "associations",
}


def _calls() -> dict[str, Call]:
    calls = {
        "list namespaces": Call("GET", "/metadefs/namespaces?limit=1000"),
        "show a namespace": Call("GET", _NAMESPACE),
        "create a namespace": Call(
            *("POST", "/metadefs/namespaces", {"namespace": "{new}"}), changes=True
        ),
        "change a namespace": Call("PUT", _NAMESPACE, {"namespace": "{name}"}, changes=True),
        "delete a namespace": Call("DELETE", _NAMESPACE, changes=True),
    }
    for plural, title in _TITLES.items():
        of_all, one = f"{_NAMESPACE}/{plural}", f"{_NAMESPACE}/{plural}/{_HAS[plural]}"
        calls[f"{title}: list"] = Call("GET", of_all)
        calls[f"{title}: add"] = Call("POST", of_all, _NEW[plural], changes=True)
        calls[f"{title}: delete one"] = Call("DELETE", one, changes=True)
        if plural == "resource_types":
            continue
        calls[f"{title}: show one"] = Call("GET", one)
        given = {"name": "t"} if plural == "tags" else {**_NEW[plural], "name": _HAS[plural]}
        calls[f"{title}: change one"] = Call("PUT", one, given, changes=True)
        calls[f"{title}: delete all"] = Call("DELETE", of_all, changes=True)
    calls["tags: add one"] = Call("POST", f"{_NAMESPACE}/tags/new", changes=True)
    calls["resource types: list"] = Call("GET", "/metadefs/resource_types")
    calls["schemas of definitions"] = Call("GET", "/schemas/metadefs/namespace")
    return calls


METADEF_CALLS = _calls()


@dataclass
class MetadefWorld:
    """An endpoint, and the namespaces that are asked about there."""

    url: str
    keystone: Keystone
    _kept: dict[str, str] = field(default_factory=dict)
    _made: int = 0

    def rows(self, call: Call) -> tuple[str, ...]:
        """Ask in every role's name, of each visibility; return what came of it."""
        return tuple(
            " ".join(self._ask(call, visibility, role) for role in ROLES)
            for visibility in NAMESPACE_VISIBILITIES
        )

    def _ask(self, call: Call, visibility: str, role: str) -> str:
        if visibility not in self._kept:
            self._kept[visibility] = self._make(visibility)
        self._made += 1
        names = {"name": self._kept[visibility], "new": f"new-{self._made}"}
        answer = call.send(self.url, headers_of(self.keystone, role), names)
        if call.changes and answer.status < 300:
            del self._kept[visibility]
        if call.path.startswith("/metadefs/namespaces?") and answer.status == 200:
            found = [each["namespace"] for each in answer.json()["namespaces"]]
            return "listed" if names["name"] in found else "not"
        return str(answer.status)

    def _make(self, visibility: str) -> str:
        self._made += 1
        document = {
            "namespace": f"made-{self._made}",
            "visibility": visibility,
            "owner": self.keystone.project_id(MEMBER),
            "objects": [{"name": "o"}],
            "properties": {"p": _TEXT},
            "tags": [{"name": "t"}],
            "resource_type_associations": [{"name": "r"}],
        }
        headers = {"X-Auth-Token": self.keystone.token(ADMIN)}
        url = f"{self.url}/v2/metadefs/namespaces"
        ask("POST", url, headers=headers, document=document).expect(201)
        return str(document["namespace"])


_READ = ("401 401 404 404 404 404 200 200 200 200", "401 401 404 200 200 200 200 200 200 200")


def _changing(status: int) -> tuple[str, str]:
    ends = f"403 403 {status} {status}"
    return f"401 401 404 404 404 404 {ends}", f"401 401 404 403 403 403 {ends}"


def _answers(name: str) -> tuple[str, str]:
    """Return what a call is answered, which depends on no more than whether it changes anything."""
    call = METADEF_CALLS[name]
    if not call.changes:
        return _READ
    is_new = call.method == "POST"
    return _changing(204 if call.method == "DELETE" else 201 if is_new else 200)


_OF_NO_NAMESPACE = {
    "list namespaces": (
        "401 401 404 not not not listed listed listed listed",
        "401 401 404 listed listed listed listed listed listed listed",
    ),
    "create a namespace": ("401 401 404 403 403 403 403 403 201 201",) * 2,
    "resource types: list": ("401 401 404 200 200 200 200 200 200 200",) * 2,
    "schemas of definitions": ("401 401 200 200 200 200 200 200 200 200",) * 2,
}
# A row for each visibility; asked of Glance and of the catalog.
METADEFS = {name: _OF_NO_NAMESPACE.get(name) or _answers(name) for name in METADEF_CALLS}
