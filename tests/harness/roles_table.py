"""Who may do what: what Glance 33 answers by its default rules, and what our catalog must.

A row for each visibility (`roles.VISIBILITIES`), in it a status for each role (`roles.ROLES`); of a
list, whether the image is in it.  docs/policies.md shows it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from harness.metadef_roles import METADEFS, NAMESPACE_VISIBILITIES
from harness.roles import ROLES, VISIBILITIES
from registry.policy.rules import RULES

# By the names of `roles.CALLS`.
TABLE: dict[str, tuple[str, str, str, str]] = {
    "list, `?visibility=`": (
        "401 401 403 not not not listed listed listed listed",
        "401 401 403 not not listed listed listed listed listed",
        "401 401 403 listed listed listed listed listed listed listed",
        "401 401 403 listed listed listed listed listed listed listed",
    ),
    "show": (
        "401 401 404 404 404 404 200 200 200 200",
        "401 401 404 404 404 200 200 200 200 200",
        "401 401 404 200 200 200 200 200 200 200",
        "401 401 404 200 200 200 200 200 200 200",
    ),
    "create": (
        "401 401 403 403 201 201 403 201 201 201",
        "401 401 403 403 201 201 403 201 201 201",
        "401 401 403 403 201 201 403 201 201 201",
        "401 401 403 403 403 403 403 403 201 201",
    ),
    "create for `demo`": (
        "401 401 403 403 403 403 403 201 201 201",
        "401 401 403 403 403 403 403 201 201 201",
        "401 401 403 403 403 403 403 201 201 201",
        "401 401 403 403 403 403 403 403 201 201",
    ),
    "change the name": (
        "401 401 404 404 404 404 403 200 200 200",
        "401 401 404 404 404 403 403 200 200 200",
        "401 401 404 403 403 403 403 200 200 200",
        "401 401 404 403 403 403 403 200 200 200",
    ),
    "make it private": (
        "401 401 404 404 404 404 403 200 200 200",
        "401 401 404 404 404 403 403 200 200 200",
        "401 401 404 403 403 403 403 200 200 200",
        "401 401 404 403 403 403 403 200 200 200",
    ),
    "make it a community image": (
        "401 401 404 404 404 404 403 200 200 200",
        "401 401 404 404 404 403 403 200 200 200",
        "401 401 403 403 403 403 403 200 200 200",
        "401 401 403 403 403 403 403 200 200 200",
    ),
    "make it public": (
        "401 401 404 404 404 404 403 403 200 200",
        "401 401 404 404 404 403 403 403 200 200",
        "401 401 403 403 403 403 403 403 200 200",
        "401 401 403 403 403 403 403 403 200 200",
    ),
    "change the owner": (
        "401 401 404 404 404 404 403 403 200 200",
        "401 401 404 404 404 403 403 403 200 200",
        "401 401 403 403 403 403 403 403 200 200",
        "401 401 403 403 403 403 403 403 200 200",
    ),
    "tag": (
        "401 401 404 404 404 404 403 204 204 204",
        "401 401 404 404 404 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
    ),
    "remove a tag": (
        "401 401 404 404 404 404 403 204 204 204",
        "401 401 404 404 404 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
    ),
    "upload": (
        "401 401 404 404 404 404 403 204 204 204",
        "401 401 404 404 404 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
    ),
    "download": (
        "401 401 404 404 404 404 403 200 200 200",
        "401 401 404 404 404 200 403 200 200 200",
        "401 401 404 403 200 200 403 200 200 200",
        "401 401 404 403 200 200 403 200 200 200",
    ),
    "download from a store": (
        "401 401 404 404 404 404 403 200 200 200",
        "401 401 404 404 404 200 403 200 200 200",
        "401 401 404 403 200 200 403 200 200 200",
        "401 401 404 403 200 200 403 200 200 200",
    ),
    "download, deactivated": (
        "401 401 404 404 404 404 403 403 200 200",
        "401 401 404 404 404 403 403 403 200 200",
        "401 401 403 403 403 403 403 403 200 200",
        "401 401 403 403 403 403 403 403 200 200",
    ),
    "take data out of a store": (
        "401 401 404 404 404 404 403 403 409 409",
        "401 401 404 404 404 403 403 403 409 409",
        "401 401 404 403 403 403 403 403 409 409",
        "401 401 404 403 403 403 403 403 409 409",
    ),
    "add a location": (
        "401 401 404 404 404 404 403 202 202 202",
        "401 401 404 404 404 403 403 202 202 202",
        "401 401 202 403 403 403 403 202 202 202",
        "401 401 202 403 403 403 403 202 202 202",
    ),
    "read locations": (
        "401 401 404 404 404 404 403 403 200 200",
        "401 401 404 404 404 403 403 403 200 200",
        "401 401 200 403 403 403 403 403 200 200",
        "401 401 200 403 403 403 403 403 200 200",
    ),
    "deactivate": (
        "401 401 404 404 404 404 403 204 204 204",
        "401 401 404 404 404 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
    ),
    "reactivate": (
        "401 401 404 404 404 404 403 204 204 204",
        "401 401 404 404 404 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
    ),
    "list members": (
        "401 401 404 404 404 404 403 403 403 403",
        "401 401 404 404 404 200 200 200 200 200",
        "401 401 403 403 403 403 403 403 403 403",
        "401 401 403 403 403 403 403 403 403 403",
    ),
    "show the member": (
        "401 401 404 404 404 404 404 404 404 404",
        "401 401 404 404 404 200 200 200 200 200",
        "401 401 404 404 404 404 404 404 404 404",
        "401 401 404 404 404 404 404 404 404 404",
    ),
    "add a member": (
        "401 401 404 404 404 404 403 403 403 403",
        "401 401 404 404 404 403 403 200 200 200",
        "401 401 403 403 403 403 403 403 403 403",
        "401 401 403 403 403 403 403 403 403 403",
    ),
    "remove the member": (
        "401 401 404 404 404 404 403 403 403 403",
        "401 401 404 404 404 403 403 204 204 204",
        "401 401 403 403 403 403 403 403 403 403",
        "401 401 403 403 403 403 403 403 403 403",
    ),
    "accept": (
        "401 401 404 404 404 404 403 403 403 403",
        "401 401 404 404 404 200 403 403 200 200",
        "401 401 403 403 403 403 403 403 403 403",
        "401 401 403 403 403 403 403 403 403 403",
    ),
    "delete": (
        "401 401 404 404 404 404 403 204 204 204",
        "401 401 404 404 404 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
    ),
}
# Of `roles.OTHER_CALLS`, which are about no image.
OTHERS = {
    "schemas": "401 401 200 200 200 200 200 200 200 200",
    "import methods": "401 401 200 200 200 200 200 200 200 200",
    "stores": "401 401 200 200 200 200 200 200 200 200",
    "stores in detail": "401 401 200 403 403 403 403 403 200 200",
}
# Of `roles.OUR_CALLS`, which Glance does not have.
OUR_TABLE: dict[str, tuple[str, str, str, str]] = {
    "manifest": (
        "401 401 404 404 404 404 403 200 200 200",
        "401 401 404 404 404 200 403 200 200 200",
        "401 401 404 403 200 200 403 200 200 200",
        "401 401 404 403 200 200 403 200 200 200",
    ),
    "right to download": (
        "401 401 404 404 404 404 403 204 204 204",
        "401 401 404 404 404 204 403 204 204 204",
        "401 401 404 403 204 204 403 204 204 204",
        "401 401 404 403 204 204 403 204 204 204",
    ),
    "manifest, deactivated": (
        "401 401 404 404 404 404 403 403 200 200",
        "401 401 404 404 404 403 403 403 200 200",
        "401 401 403 403 403 403 403 403 200 200",
        "401 401 403 403 403 403 403 403 200 200",
    ),
    "right to download, deactivated": (
        "401 401 404 404 404 404 403 403 204 204",
        "401 401 404 404 404 403 403 403 204 204",
        "401 401 403 403 403 403 403 403 204 204",
        "401 401 403 403 403 403 403 403 204 204",
    ),
    "upload, to be continued": (
        "401 401 404 404 404 404 403 204 204 204",
        "401 401 404 404 404 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
    ),
    "how far an upload is": (
        "401 401 404 404 404 404 403 204 204 204",
        "401 401 404 404 404 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
    ),
    "continue an upload": (
        "401 401 404 404 404 404 403 204 204 204",
        "401 401 404 404 404 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
    ),
    "give an upload up": (
        "401 401 404 404 404 404 403 204 204 204",
        "401 401 404 404 404 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
        "401 401 404 403 403 403 403 204 204 204",
    ),
}
OUR_OTHERS = {
    "changes": "401 401 200 403 403 403 403 403 200 200",
    "find by content": "401 401 403 403 403 403 403 403 200 200",
}


def roles_page() -> str:
    """Return the table as docs/policies.md shows it: visibilities answered alike share a row."""
    lines = [_line(["call", "visibility", *ROLES]), _line(["---"] * (2 + len(ROLES)))]
    for name, rows in {**TABLE, **OUR_TABLE}.items():
        lines += [_line([name, ", ".join(of), *row.split()]) for row, of in _grouped(rows).items()]
    lines += [_line([name, "", *row.split()]) for name, row in {**OTHERS, **OUR_OTHERS}.items()]
    return "\n".join(lines) + "\n"


def metadef_roles_page() -> str:
    """Return the same of metadata definitions, where calls that are answered alike share rows."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, rows in METADEFS.items():
        alike.setdefault(rows, []).append(name)
    lines = [_line(["calls", "visibility", *ROLES]), _line(["---"] * (2 + len(ROLES)))]
    for rows, names in alike.items():
        of = NAMESPACE_VISIBILITIES if len(set(rows)) > 1 else ("",)
        for visibility, row in zip(of, rows, strict=False):
            lines.append(_line([", ".join(names), visibility, *row.split()]))
    return "\n".join(lines) + "\n"


def rules_page() -> str:
    """Return the rules as docs/policies.md shows them."""
    lines = [_line(["rule", "who", "what for", "before"]), _line(["---"] * 4)]
    for rule in RULES:
        before = f"`{rule.before}`" if rule.before else ""
        check = f"`{rule.check}`" if rule.check else "everybody"
        lines.append(_line([f"`{rule.name}`", check, rule.meaning, before]))
    return "\n".join(lines) + "\n"


def _grouped(rows: Sequence[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for visibility, row in zip(VISIBILITIES, rows, strict=True):
        found.setdefault(row, []).append(visibility)
    return found


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(f"{rules_page()}\n{roles_page()}\n{metadef_roles_page()}")
