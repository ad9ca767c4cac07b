"""Records come back as they were packed, or not at all."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.core.records import ContentRecord, ImageRecord

IMAGE = ImageRecord(5, None, "sha512", "ab", "sha512:ab/1048576", "owner")
CONTENT = ContentRecord(5, 1 << 20, proven=True, published=True, root=bytes(32))


def test_round_trip() -> None:
    assert ImageRecord.unpack(IMAGE.pack()) == IMAGE
    assert ContentRecord.unpack(CONTENT.pack()) == CONTENT


def test_records_of_before_stay_readable() -> None:
    image = bytes([1]) + msgspec.msgpack.encode([5, None, "sha512", "ab", "sha512:ab/1048576"])
    assert ImageRecord.unpack(image) == ImageRecord(5, None, "sha512", "ab", "sha512:ab/1048576")
    content = bytes([1]) + msgspec.msgpack.encode([5, 1 << 20, True, False])
    assert ContentRecord.unpack(content) == ContentRecord(5, 1 << 20, proven=True, published=False)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x01",
        b"\x02" + IMAGE.pack()[1:],
        IMAGE.pack()[:-1],
        IMAGE.pack() + b"x",
        CONTENT.pack(),
    ],
)
def test_what_cannot_be_read_is_unknown(packed: bytes) -> None:
    assert ImageRecord.unpack(packed) is None


@given(st.binary(max_size=64))
def test_no_bytes_make_it_fail(packed: bytes) -> None:
    for kind in (ImageRecord, ContentRecord):
        record = kind.unpack(packed)
        assert record is None or kind.unpack(record.pack()) == record
