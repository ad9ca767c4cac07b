"""What the file of pinned images says: whole, damaged, or of somebody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.admin.requests import Pin
from cacheproxy.store import pintext
from cacheproxy.store.pintext import PinsDamagedError, check_image, pack, packed_bytes, unpack

UUID = "6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f000"
IMAGES = {f"{UUID}{number}": 1_800_000_000 + number for number in range(3)}
TEXT = pack(IMAGES)

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)


def test_it_is_text_for_people() -> None:
    first, *lines = TEXT.decode().splitlines()
    assert first == "cacheproxy pins 1, 3 images"
    assert [line.split()[1:] for line in lines] == [
        [f"2027-01-15T08:00:0{number}Z", f"{UUID}{number}"] for number in range(3)
    ]


@given(st.dictionaries(names, st.integers(0, 1 << 34), max_size=20))
def test_round_trip(images: dict[str, int]) -> None:
    assert unpack(pack(images)) == (images, [], 0)
    assert packed_bytes(images) == len(pack(images))
    for name in images:
        check_image(name)
        assert Pin(image=name).image == name


@given(st.data())
def test_one_wrong_byte_changes_no_other_pin_and_is_noticed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TEXT) - 2))  # the last is the end of the last line
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != TEXT[at]))
    damaged = TEXT[:at] + bytes([byte]) + TEXT[at + 1 :]
    try:
        found = unpack(damaged)
    except PinsDamagedError:
        assert at <= TEXT.index(b"\n")
        return
    assert found.images.items() <= IMAGES.items()
    if at > TEXT.index(b"\n"):
        hit = 2 if TEXT[at] == ord("\n") else 1  # two lines that have become one
        assert found.bad_lines
        assert (len(found.images), found.missing) == (3 - hit, hit)


@given(st.integers(0, len(TEXT) - 2))
def test_a_text_that_is_cut_short_is_noticed(length: int) -> None:
    try:
        found = unpack(TEXT[:length])
    except PinsDamagedError:
        return
    assert found.images.items() < IMAGES.items()
    assert found.missing == 3 - len(found.images)


@pytest.mark.parametrize(
    "text", [b"", b"\0" * 500, b"cacheproxy pins 2, 0 images\n", b"#!/bin/sh\n", b"\n" + TEXT]
)
def test_what_is_none_is_told_from_an_empty_one(text: bytes) -> None:
    assert unpack(pack({})) == ({}, [], 0)
    with pytest.raises(PinsDamagedError):
        unpack(text)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(rest: bytes) -> None:
    found = unpack(TEXT + rest)
    assert IMAGES.items() <= found.images.items()


def test_a_full_file_can_be_read() -> None:
    images = {str(number).rjust(255, "x"): number for number in range(pintext.IMAGES_MAX)}
    assert len(pack(images)) <= pintext.BYTES_MAX
