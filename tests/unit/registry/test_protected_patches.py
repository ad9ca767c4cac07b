"""Patches by callers who may not use every property."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from registry.domain.errors import ConflictError, ForbiddenError
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.image import Image
from registry.domain.limits import Limits
from registry.domain.patches import V21, apply_patch, parse_patch
from registry.domain.protection import Use
from registry.domain.validation import ImageValidator

THEN = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the catalog's times are


class OnlyNamed:
    """Lets a property be used in the ways that its name tells by their first letters."""

    def allow(self, use: Use, name: str, identity: Identity) -> bool:
        del identity
        return use[0] in name


CALLER = replace(EVERYBODY, protections=OnlyNamed())
IMAGE = Image(id="i", created_at=THEN, updated_at=THEN)


def patched(
    validator: ImageValidator, limits: Limits, operation: str, name: str, *, there: bool
) -> dict[str, str | None]:
    change: dict[str, Any] = {"op": operation, "path": f"/{name}"}
    if operation != "remove":
        change["value"] = "new"
    given: dict[str, str | None] = {"_": "hidden", name: "old"} if there else {"_": "hidden"}
    before = replace(IMAGE, properties=given)
    changes = parse_patch(V21, [change], validator)
    return apply_patch(before, changes, CALLER, limits).properties


@pytest.mark.parametrize(
    ("operation", "name", "there"),
    [
        ("add", "c", False),
        ("add", "ru", True),
        ("add", "u", True),  # it may be changed, though not be seen
        ("replace", "ru", True),
    ],
)
def test_allowed(
    validator: ImageValidator, limits: Limits, operation: str, name: str, *, there: bool
) -> None:
    found = patched(validator, limits, operation, name, there=there)
    assert found == {"_": "hidden", name: "new"}


def test_removed(validator: ImageValidator, limits: Limits) -> None:
    assert patched(validator, limits, "remove", "rd", there=True) == {"_": "hidden"}


@pytest.mark.parametrize(
    ("operation", "name", "there"),
    [
        ("add", "rud", False),
        ("add", "c", True),  # it would be changed
        ("add", "crd", True),
        ("replace", "crd", True),
        ("remove", "cru", True),
    ],
)
def test_refused(
    validator: ImageValidator, limits: Limits, operation: str, name: str, *, there: bool
) -> None:
    with pytest.raises(ForbiddenError, match=f"Attribute '{name}' is reserved"):
        patched(validator, limits, operation, name, there=there)


@pytest.mark.parametrize("operation", ["replace", "remove"])
def test_what_is_hidden_is_not_there(
    validator: ImageValidator, limits: Limits, operation: str
) -> None:
    with pytest.raises(ConflictError, match="does not exist"):
        patched(validator, limits, operation, "cud", there=True)
