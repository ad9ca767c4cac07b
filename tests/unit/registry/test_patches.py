"""JSON patches against one image: effects and refusals."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from registry.domain.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    LimitExceededError,
    MediaTypeError,
    RegistryError,
)
from registry.domain.identity import EVERYBODY, Identity
from registry.domain.image import Image
from registry.domain.limits import Limits
from registry.domain.patches import V20, V21, apply_patch, parse_patch
from registry.domain.status import Status
from registry.domain.validation import ImageValidator

THEN = datetime(2026, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the catalog's times are
MEMBER = Identity("p1", "u1", is_admin=False)


def image(**fields: Any) -> Image:
    return Image(id="i", created_at=THEN, updated_at=THEN, owner="p1", **fields)


class Patcher:
    def __init__(self, validator: ImageValidator, limits: Limits) -> None:
        self.validator = validator
        self.limits = limits

    def __call__(
        self,
        body: Any,
        before: Image | None = None,
        media_type: str = V21,
        identity: Identity = EVERYBODY,
    ) -> Image:
        changes = parse_patch(media_type, body, self.validator)
        return apply_patch(before or image(), changes, identity, self.limits)


@pytest.fixture
def patch(validator: ImageValidator, limits: Limits) -> Patcher:
    return Patcher(validator, limits)


def op(operation: str, path: str, *value: Any) -> dict[str, Any]:
    return {"op": operation, "path": path, **({"value": value[0]} if value else {})}


def test_nothing_to_do_is_nothing_done(patch: Patcher) -> None:
    assert patch([]) == image()


@pytest.mark.parametrize("operation", ["add", "replace"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("name", "n"), ("name", None), ("min_ram", 5), ("protected", True), ("visibility", "public")],
)
def test_fields_are_set(patch: Patcher, operation: str, name: str, value: Any) -> None:
    assert getattr(patch([op(operation, f"/{name}", value)]), name) == value


def test_tags_are_a_set(patch: Patcher) -> None:
    assert patch([op("replace", "/tags", ["b", "a", "b"])]).tags == ("a", "b")


def test_properties_come_change_and_go_in_order(patch: Patcher) -> None:
    steps = [
        op("add", "/a", "1"),
        op("replace", "/a", "2"),
        op("add", "/b", "3"),
        op("add", "/b", "4"),  # v2.1: replaces
        op("remove", "/a"),
    ]
    assert patch(steps).properties == {"b": "4"}


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a~1b", "a/b"), ("/a~0b", "a~b"), ("/a~01", "a~1"), ("/ a ", "a"), ("//a", "a"), ("/", "")],
)
def test_escapes_in_paths(patch: Patcher, path: str, name: str) -> None:
    assert patch([op("add", path, "v")]).properties == {name: "v"}


def test_v20_operations(patch: Patcher) -> None:
    body = [{"add": "/a", "value": "1"}, {"replace": "/name", "value": "n"}]
    after = patch(body, media_type=V20)
    assert (after.properties, after.name) == ({"a": "1"}, "n")
    assert patch([{"remove": "/a"}], after, V20).properties == {}


@pytest.mark.parametrize("path", ["/a", "/name"])
def test_v20_adds_only_what_is_absent(patch: Patcher, path: str) -> None:
    with pytest.raises(ConflictError, match="already present"):
        patch([{"add": path, "value": "x"}], image(properties={"a": "1"}), V20)


REFUSED: list[tuple[Any, type[RegistryError]]] = [
    ({}, InvalidRequestError),
    (["x"], InvalidRequestError),
    ([{}], InvalidRequestError),
    ([{"op": "move", "path": "/a"}], InvalidRequestError),
    ([{"op": "add", "value": "x"}], InvalidRequestError),
    ([op("add", "/a")], InvalidRequestError),
    ([op("add", "a", "x")], InvalidRequestError),
    ([{"op": "add", "path": 1, "value": "x"}], InvalidRequestError),
    ([op("add", "/a/", "x")], InvalidRequestError),
    ([op("add", "/a//b", "x")], InvalidRequestError),
    ([op("add", "/a/b", "x")], InvalidRequestError),
    ([op("add", "/a~2", "x")], InvalidRequestError),
    ([op("add", "/a~", "x")], InvalidRequestError),
    ([op("add", "/a", 1)], InvalidRequestError),
    ([op("add", "/a", "x\0")], InvalidRequestError),
    ([op("add", "/a", "\ud800")], InvalidRequestError),
    ([op("add", "/" + "a" * 256, "x")], InvalidRequestError),
    ([op("replace", "/name", "n" * 256)], InvalidRequestError),
    ([op("replace", "/min_ram", -1)], InvalidRequestError),
    ([op("replace", "/min_disk", 1 << 31)], InvalidRequestError),
    ([op("replace", "/protected", "true")], InvalidRequestError),
    ([op("replace", "/visibility", "secret")], InvalidRequestError),
    ([op("replace", "/disk_format", "floppy")], InvalidRequestError),
    ([op("replace", "/tags", ["x" * 256])], InvalidRequestError),
    ([op("replace", "/kernel_id", "no uuid")], InvalidRequestError),
    ([op("add", "/locations", [])], InvalidRequestError),
    ([op("add", "/locations/-", {"url": "file:///x", "metadata": {}})], ForbiddenError),
    ([op("replace", "/locations", [])], ForbiddenError),
    ([op("remove", "/locations/0")], ForbiddenError),
    ([op("replace", "/id", "i")], ForbiddenError),
    ([op("replace", "/status", "active")], ForbiddenError),
    ([op("remove", "/checksum")], ForbiddenError),
    ([op("add", "/deleted", "x")], ForbiddenError),
    ([op("add", "/os_glance_x", "x")], ForbiddenError),
    ([op("remove", "/name")], ForbiddenError),
    ([op("replace", "/absent", "x")], ConflictError),
    ([op("remove", "/absent")], ConflictError),
    ([op("replace", "/tags", [str(n) for n in range(129)])], LimitExceededError),
    ([op("add", f"/p{n}", "x") for n in range(129)], LimitExceededError),
]


@pytest.mark.parametrize(("body", "error"), REFUSED, ids=lambda value: str(value)[:60])
def test_refused(patch: Patcher, body: Any, error: type[RegistryError]) -> None:
    with pytest.raises(error) as caught:
        patch(body)
    assert type(caught.value) is error


@pytest.mark.parametrize("body", [[{"add": "/a", "remove": "/a"}], [{"op": "add", "path": "/a"}]])
def test_refused_of_v20(patch: Patcher, body: Any) -> None:
    with pytest.raises(InvalidRequestError, match="exactly one member"):
        patch(body, media_type=V20)


def test_other_media_types_are_refused_with_the_right_ones(patch: Patcher) -> None:
    with pytest.raises(MediaTypeError) as caught:
        patch([], media_type="application/json")
    assert caught.value.accepted == (V20, V21)


@pytest.mark.parametrize(
    "status", [Status.ACTIVE, Status.SAVING, Status.UPLOADING, Status.IMPORTING]
)
def test_formats_are_fixed_once_there_is_data(patch: Patcher, status: Status) -> None:
    with pytest.raises(ForbiddenError, match="disk_format"):
        patch([op("replace", "/disk_format", "raw")], image(status=status))


@pytest.mark.parametrize("name", ["img_signature", "img_signature_certificate_uuid"])
@pytest.mark.parametrize("operation", ["add", "replace", "remove"])
def test_who_signed_is_fixed_while_data_is_verified(
    patch: Patcher, operation: str, name: str
) -> None:
    body = [op(operation, f"/{name}", *([] if operation == "remove" else ["other"]))]
    for status in (Status.SAVING, Status.IMPORTING):
        with pytest.raises(ConflictError, match="while data is coming"):
            patch(body, image(status=status, properties={name: "told"}))
    for status in (Status.QUEUED, Status.ACTIVE):
        after = patch(body, image(status=status, properties={name: "told"}))
        assert after.properties.get(name) == (None if operation == "remove" else "other")


@pytest.mark.parametrize(
    ("name", "value"), [("visibility", "public"), ("owner", "p2"), ("owner", None)]
)
def test_what_only_administrators_may(patch: Patcher, name: str, value: str | None) -> None:
    body = [op("replace", f"/{name}", value)]
    assert getattr(patch(body), name) == value
    with pytest.raises(ForbiddenError):
        patch(body, identity=MEMBER)


def test_its_owner_may_not_say_again_that_an_image_is_public(patch: Patcher) -> None:
    published = patch([op("replace", "/visibility", "public")])
    with pytest.raises(ForbiddenError, match="public"):
        patch([op("replace", "/visibility", "public")], published, identity=MEMBER)
    assert patch([op("replace", "/name", "n")], published, identity=MEMBER).name == "n"


def test_an_image_over_its_quota_may_shrink(patch: Patcher) -> None:
    over = image(properties={f"p{n}": "x" for n in range(200)}, tags=tuple(map(str, range(200))))
    body = [op("remove", "/p0"), op("replace", "/tags", ["x"]), op("replace", "/p1", "y")]
    assert len(patch(body, over).properties) == 199
