"""What is believed of an image record."""

from __future__ import annotations

import pytest

from cacheproxy.core.facts import ImageFacts, image_facts, same_image

MD5 = "d41d8cd98f00b204e9800998ecf8427e"
SHA512 = "ab" * 64
RECORD = {
    "id": "i",
    "status": "active",
    "size": 5,
    "checksum": MD5,
    "os_hash_algo": "sha512",
    "os_hash_value": SHA512,
}


def facts(**changed: object) -> ImageFacts | None:
    return image_facts("i", {**RECORD, **changed})


def test_an_active_image() -> None:
    assert facts() == ImageFacts(
        image_id="i", size=5, checksum=MD5, hash_algo="sha512", hash_value=SHA512
    )


def test_case_of_hashes_does_not_matter() -> None:
    assert facts(checksum=MD5.upper(), os_hash_algo="SHA512", os_hash_value=SHA512.upper()) == (
        facts()
    )


def test_an_empty_image_is_an_image() -> None:
    found = facts(size=0)
    assert found is not None
    assert found.size == 0


@pytest.mark.parametrize("status", ["queued", "saving", "deactivated", "Active", None, 1])
def test_only_active_images(status: object) -> None:
    assert facts(status=status) is None


@pytest.mark.parametrize("size", [None, -1, True, 5.0, "5"])
def test_only_images_of_a_known_size(size: object) -> None:
    assert facts(size=size) is None


@pytest.mark.parametrize("record", [None, [], "active", 7])
def test_other_json_is_no_image(record: object) -> None:
    assert image_facts("i", record) is None


@pytest.mark.parametrize(
    ("changed", "checksum", "algorithm"),
    [
        ({"checksum": None}, None, "sha512"),
        ({"checksum": "zz"}, None, "sha512"),
        ({"checksum": "ab"}, None, "sha512"),
        ({"checksum": 5}, None, "sha512"),
        ({"os_hash_algo": None}, MD5, None),
        ({"os_hash_algo": ""}, MD5, None),
        ({"os_hash_algo": "x" * 65}, MD5, None),
        ({"os_hash_value": None}, MD5, None),
        ({"os_hash_value": ""}, MD5, None),
        ({"os_hash_value": "abc"}, MD5, None),
        ({"os_hash_value": "ab\n"}, MD5, None),
        ({"os_hash_value": "ab" * 65}, MD5, None),
        ({"os_hash_value": ["ab"]}, MD5, None),
    ],
)
def test_a_hash_that_is_none_counts_as_absent(
    changed: dict[str, object], checksum: str | None, algorithm: str | None
) -> None:
    found = facts(**changed)
    assert found is not None
    assert found.checksum == checksum
    assert found.hash_algo == algorithm
    assert (found.hash_value is None) == (algorithm is None)


@pytest.mark.parametrize(
    ("value", "believed"),
    [("p", "p"), ("x" * 255, "x" * 255), ("x" * 256, None), ("", None), (None, None), (7, None)],
)
def test_the_owner_is_any_text(value: object, believed: str | None) -> None:
    found = facts(owner=value)
    assert found is not None
    assert found.owner == believed


@pytest.mark.parametrize(
    ("value", "believed"),
    [("1:2:ab", "1:2:ab"), ("x" * 129, None), ("", None), (["1:2:ab"], None), ({}, None)],
)
def test_what_a_user_may_have_set_as_a_manifest_is_a_short_text(
    value: object, believed: str | None
) -> None:
    found = facts(os_manifest=value)
    assert found is not None
    assert found.manifest == believed


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"owner": "another", "os_manifest": "another"}, True),
        ({"created_at": None}, True),  # not told: nothing is known against it
        ({"created_at": "2026-02-01T00:00:00Z"}, False),
        ({"size": 6}, False),
        ({"checksum": None}, False),
        ({"os_hash_algo": "sha3_512"}, False),
        ({"os_hash_value": "cd" * 64}, False),
    ],
)
def test_an_id_may_be_another_images(changed: dict[str, object], same: bool) -> None:
    one = facts(created_at="2026-01-01T00:00:00Z")
    other = facts(**{"created_at": "2026-01-01T00:00:00Z", **changed})
    assert one is not None
    assert other is not None
    assert same_image(one, other) is same
    assert same_image(other, one) is same
