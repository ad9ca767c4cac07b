"""Who sees an image, and what a rule then says: Glance's order of questions, by Glance's rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from registry.domain import access
from registry.domain.errors import ForbiddenError, NotFoundError
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.image import Image, Visibility
from registry.domain.status import Status
from registry.policy.options import PolicySettings
from registry.policy.policy import Policy

MOMENT = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the catalog's are
IMAGE = Image(id="i", created_at=MOMENT, updated_at=MOMENT, owner="p1", members=("p2",))
PRIVATE, SHARED, COMMUNITY, PUBLIC = (
    replace(IMAGE, visibility=visibility)
    for visibility in (
        *(Visibility.PRIVATE, Visibility.SHARED, Visibility.COMMUNITY, Visibility.PUBLIC),
    )
)

Who = Callable[..., Identity]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(PolicySettings(file="/nowhere/policy.yaml", directories=()))


@pytest.fixture
def who(policy: Policy) -> Who:
    """Give a caller of a project, with roles and what comes with them."""

    def make(project: str | None, *roles: str, **more: Any) -> Identity:
        known = Identity(
            project, "u", False, frozenset(roles), rules=policy, **more
        )  # as services make it
        return known.judged()

    return make


def outcome(ask: Callable[[], Any]) -> str:
    try:
        ask()
    except (NotFoundError, ForbiddenError) as error:
        return type(error).__name__.removesuffix("Error")
    return "yes"


@pytest.mark.parametrize(
    ("project", "role", "seen"),
    [
        ("p1", "reader", [True] * 4),
        ("p1", "admin", [True] * 4),
        ("p2", "member", [False, True, True, True]),
        ("p3", "member", [False, False, True, True]),
        ("p3", "admin", [True] * 4),
        (None, "reader", [False, False, True, True]),
    ],
)
def test_who_sees(who: Who, project: str | None, role: str, seen: list[bool]) -> None:
    caller = who(project, role)
    images = (PRIVATE, SHARED, COMMUNITY, PUBLIC)
    assert [access.is_visible(caller, image) for image in images] == seen


def test_members_of_before_see_nothing_of_an_image_that_is_private_again(who: Who) -> None:
    assert access.is_member(who("p2"), SHARED)
    assert not access.is_member(who("p2"), PRIVATE)
    assert not access.is_member(who(None), SHARED)


def test_what_nobody_owns_everybody_sees(who: Who) -> None:
    assert access.is_visible(who("p3", "reader"), replace(PRIVATE, owner=None))


@pytest.mark.parametrize(
    ("image", "project", "role", "told"),
    [
        (PRIVATE, "p1", "member", "yes"),
        (PRIVATE, "p1", "reader", "Forbidden"),
        (PUBLIC, "p3", "member", "Forbidden"),
        (PUBLIC, "p3", "service", "NotFound"),  # not even the record is theirs to read
        (PUBLIC, "p3", "admin", "yes"),
    ],
)
def test_a_change(who: Who, image: Image, project: str, role: str, told: str) -> None:
    roles = {"member": ("member", "reader")}.get(role, (role,))
    assert outcome(lambda: access.require_change(who(project, *roles), image)) == told


def test_data_needs_more_than_the_record(who: Who) -> None:
    reader, member = who("p1", "reader"), who("p1", "member", "reader")
    assert access.require_shown(reader, PRIVATE, "i") is PRIVATE
    assert outcome(lambda: access.require_readable(reader, PRIVATE, "i")) == "Forbidden"
    assert access.require_readable(member, PRIVATE, "i") is PRIVATE
    sleeping = replace(PRIVATE, status=Status.DEACTIVATED)
    assert outcome(lambda: access.require_readable(member, sleeping, "i")) == "Forbidden"
    assert access.require_readable(who("p3", "admin"), sleeping, "i") is sleeping


def test_absent_and_hidden_are_told_alike(who: Who) -> None:
    stranger = who("p3", "member", "reader")
    told = set()
    for image in (None, PRIVATE):
        with pytest.raises(NotFoundError) as error:
            access.require_visible(stranger, image, "i")
        told.add(str(error.value))
    with pytest.raises(NotFoundError) as error:
        access.require_change(who("p3", "service"), PUBLIC)
    assert told == {str(error.value)}


@pytest.mark.parametrize(
    ("role", "owner", "visibility", "told"),
    [
        ("member", "p1", Visibility.SHARED, "yes"),
        ("member", "p1", Visibility.COMMUNITY, "yes"),
        ("member", "p1", Visibility.PUBLIC, "Forbidden"),
        ("member", "p2", Visibility.SHARED, "Forbidden"),
        ("member", None, Visibility.SHARED, "Forbidden"),
        ("reader", "p1", Visibility.SHARED, "Forbidden"),
        ("admin", "p2", Visibility.PUBLIC, "yes"),
    ],
)
def test_a_creation(
    who: Who, role: str, owner: str | None, visibility: Visibility, told: str
) -> None:
    caller = who("p1", role)
    assert outcome(lambda: access.require_creation(caller, owner, visibility)) == told


def test_the_feed_is_for_services(who: Who) -> None:
    for role, told in (("service", "yes"), ("admin", "yes"), ("member", "Forbidden")):
        caller = who("p3", role)
        assert outcome(lambda c=caller: access.require_changes(c)) == told  # type: ignore[misc]  # bound now
        assert outcome(lambda c=caller: access.require_store_details(c)) == told  # type: ignore[misc]  # bound now


def test_with_the_rules_of_before_only_owners_change_images(tmp_path: Path) -> None:
    policy = Policy(PolicySettings(new_defaults=False, beside=(tmp_path / "x",)))
    stranger = Identity("p3", "u", is_admin=False, rules=policy)
    owner = Identity("p1", "u", is_admin=False, rules=policy)
    assert outcome(lambda: access.require_change(stranger, PUBLIC)) == "Forbidden"
    assert outcome(lambda: access.require_change(owner, PUBLIC)) == "yes"
    foreign = ("p1", Visibility.SHARED)
    assert outcome(lambda: access.require_creation(stranger, *foreign)) == "Forbidden"
    assert outcome(lambda: access.require_answer(owner, SHARED)) == "Forbidden"


def test_an_operator_may_let_others_change_an_image(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        '"modify_image": "role:editor"\n"add_image": "role:editor"\n'
    )
    policy = Policy(PolicySettings(beside=(tmp_path / "x",)))
    editor = Identity("p3", "u", is_admin=False, roles=frozenset({"editor"}), rules=policy)
    assert outcome(lambda: access.require_change(editor, PUBLIC)) == "yes"
    assert outcome(lambda: access.require_change(editor, PRIVATE)) == "yes"  # who finds it at all
    assert outcome(lambda: access.require_visible(editor, PRIVATE, "i")) == "NotFound"
    assert outcome(lambda: access.require_creation(editor, "p1", Visibility.SHARED)) == "yes"


def test_without_a_policy_everybody_may_do_everything() -> None:
    for image in (PRIVATE, SHARED, COMMUNITY, PUBLIC):
        assert access.require_readable(EVERYBODY, image, "i") is image
        access.require_change(EVERYBODY, image, "delete_image")
    access.require_creation(EVERYBODY, None, Visibility.PUBLIC)
    access.require_listing(EVERYBODY)
    access.require_changes(EVERYBODY)
