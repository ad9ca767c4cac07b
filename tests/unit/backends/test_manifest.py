from __future__ import annotations

import hashlib
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.manifest import (
    CHUNK_BYTES,
    DIGEST_BYTES,
    HEAD_BYTES,
    PAGE_BYTES,
    PAGE_DIGESTS,
    PAGES_MAX,
    ManifestError,
    ManifestName,
    ManifestRoot,
    ManifestShape,
)

KIB = 1 << 10
MIB = 1 << 20
SIZES = st.one_of(
    st.integers(0, 5 * PAGE_DIGESTS * MIB),
    st.builds(
        lambda pages, chunk, off: max(0, pages * PAGE_DIGESTS * chunk + off),
        st.integers(0, 4),
        st.sampled_from(CHUNK_BYTES),
        st.integers(-2, 2),
    ),
)
SHAPES = st.builds(ManifestShape, SIZES, st.sampled_from(CHUNK_BYTES))
DIGESTS = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES)


def digest(data: bytes) -> bytes:
    """Stand in for BLAKE3: the format takes whatever hash it is handed."""
    return hashlib.sha256(data).digest()


def pages_of(shape: ManifestShape) -> list[bytes]:
    return [
        hashlib.shake_128(number.to_bytes(4)).digest(shape.page_bytes(number))
        for number in range(shape.page_count)
    ]


def root_of(shape: ManifestShape) -> ManifestRoot:
    return ManifestRoot(shape, b"".join(map(digest, pages_of(shape))))


THREE_PAGES = ManifestShape(2 * PAGE_DIGESTS * MIB + 1, MIB)


class TestShape:
    @pytest.mark.parametrize(
        ("size", "chunks", "pages", "last_page"),
        [
            (0, 0, 0, None),
            (1, 1, 1, 32),
            (MIB, 1, 1, 32),
            (MIB + 1, 2, 1, 64),
            (1024 * MIB, 1024, 1, PAGE_BYTES),
            (1024 * MIB + 1, 1025, 2, 32),
        ],
    )
    def test_examples(self, size: int, chunks: int, pages: int, last_page: int | None) -> None:
        shape = ManifestShape(size, MIB)
        assert (shape.chunk_count, shape.page_count) == (chunks, pages)
        assert shape.root_bytes == 24 + 32 * pages
        if last_page is not None:
            assert shape.page_bytes(pages - 1) == last_page

    @given(SHAPES)
    def test_pages_hold_one_digest_for_each_chunk_and_are_full_but_the_last(
        self, shape: ManifestShape
    ) -> None:
        sizes = [shape.page_bytes(number) for number in range(shape.page_count)]
        assert sum(sizes) == shape.chunk_count * DIGEST_BYTES
        assert all(size == PAGE_BYTES for size in sizes[:-1])
        assert all(0 < size <= PAGE_BYTES for size in sizes)
        assert 0 <= shape.chunk_count * shape.chunk_bytes - shape.size < shape.chunk_bytes

    @pytest.mark.parametrize("number", [-1, 3, 1 << 70])
    def test_there_are_no_other_pages(self, number: int) -> None:
        with pytest.raises(ManifestError, match="of 3"):
            THREE_PAGES.page_bytes(number)

    @pytest.mark.parametrize("chunk_bytes", [0, -1, 1, MIB - 1, 2 * MIB, 8 * MIB])
    def test_chunks_have_one_of_three_sizes(self, chunk_bytes: int) -> None:
        with pytest.raises(ManifestError, match="262144, 1048576, 4194304"):
            ManifestShape(1, chunk_bytes)

    def test_the_largest(self) -> None:
        largest = PAGES_MAX * PAGE_DIGESTS * MIB
        assert ManifestShape(largest, MIB).page_count == PAGES_MAX
        for size in (largest + 1, -MIB * PAGE_DIGESTS):
            with pytest.raises(ManifestError, match="do not fit"):
                ManifestShape(size, MIB)


class TestName:
    def test_example(self) -> None:
        name = ManifestName(MIB, bytes(range(32)))
        assert str(name) == (
            "1:1048576:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        )

    @given(st.builds(ManifestName, st.sampled_from(CHUNK_BYTES), DIGESTS))
    def test_there_and_back(self, name: ManifestName) -> None:
        assert ManifestName.parse(str(name)) == name

    @pytest.mark.parametrize(
        "text",
        [
            *("", "1", "1:1048576", "1:1048576:", "none"),
            f"2:1048576:{'0' * 64}",
            f"1:1048577:{'0' * 64}",
            f"1:01048576:{'0' * 64}",
            f"1:1048576:{'0' * 63}",
            f"1:1048576:{'0' * 65}",
            f"1:1048576:{'A' * 64}",
            f"1:1048576:{'0' * 64}\n",
            f" 1:1048576:{'0' * 64}",
            f"1:\u0661048576:{'0' * 64}",
            f"1:{'9' * 5000}:{'0' * 64}",
        ],
    )
    def test_nothing_else_is_a_name(self, text: str) -> None:
        with pytest.raises(ManifestError, match="not the name"):
            ManifestName.parse(text)


class TestRoot:
    def test_byte_by_byte(self) -> None:
        root = ManifestRoot(ManifestShape(MIB + 1, MIB), b"\xab" * 32)
        assert root.pack() == (
            b"CPXMANIF"
            b"\x00\x01"
            b"\x00\x01"
            b"\x00\x10\x00\x00"
            b"\x00\x00\x00\x00\x00\x10\x00\x01" + b"\xab" * 32
        )

    @given(SHAPES)
    def test_there_and_back(self, shape: ManifestShape) -> None:
        root = root_of(shape)
        document = root.pack()
        assert len(document) == shape.root_bytes
        assert ManifestRoot.unpack(document) == root
        assert [root.page_digest(number) for number in range(shape.page_count)] == [
            digest(page) for page in pages_of(shape)
        ]

    @given(SHAPES, st.data())
    def test_no_other_bytes_are_the_same_root(
        self, shape: ManifestShape, data: st.DataObject
    ) -> None:
        document = root_of(shape).pack()
        place = data.draw(st.integers(0, len(document) - 1))
        change = data.draw(st.integers(1, 255))
        changed = bytearray(document)
        changed[place] ^= change
        try:
            other = ManifestRoot.unpack(bytes(changed))
        except ManifestError:
            return
        assert other.pack() == changed  # one form for one content
        assert other != root_of(shape)

    @given(SHAPES, st.integers(-HEAD_BYTES, DIGEST_BYTES).filter(bool))
    def test_a_root_of_another_length_is_refused(self, shape: ManifestShape, more: int) -> None:
        document = root_of(shape).pack()
        changed = document[:more] if more < 0 else document + bytes(more)
        with pytest.raises(ManifestError):
            ManifestRoot.unpack(changed)

    @pytest.mark.parametrize(
        ("document", "message"),
        [
            (b"", "not a manifest"),
            (b"CPXMANIF", "not a manifest"),
            (b"<html>" * 10, "not a manifest"),
            (struct.pack(">8sHHIQ", b"CPXMANIF", 2, 1, MIB, 0), "version 2, not 1"),
            (struct.pack(">8sHHIQ", b"CPXMANIF", 1, 7, MIB, 0), "unknown algorithm 7"),
            (struct.pack(">8sHHIQ", b"CPXMANIF", 1, 1, 5, 0), "chunks of 5 bytes"),
            (struct.pack(">8sHHIQ", b"CPXMANIF", 1, 1, MIB, (1 << 64) - 1), "do not fit"),
            (struct.pack(">8sHHIQ", b"CPXMANIF", 1, 1, MIB, 1), "0 bytes of page digests, not 32"),
            (bytes(24), "not a manifest"),
        ],
    )
    def test_what_is_wrong_is_said(self, document: bytes, message: str) -> None:
        with pytest.raises(ManifestError, match=message):
            ManifestRoot.unpack(document)

    def test_page_digests_must_fit_the_shape(self) -> None:
        with pytest.raises(ManifestError, match="64 bytes of page digests, not 96"):
            ManifestRoot(THREE_PAGES, bytes(64))


class TestVerification:
    def test_a_root_is_the_one_that_the_record_names(self) -> None:
        root = root_of(THREE_PAGES)
        document = root.pack()
        name = ManifestName(MIB, digest(document))
        assert ManifestRoot.verify(document, name, THREE_PAGES.size, digest) == root

    def test_another_root_is_refused_even_if_it_is_well_formed(self) -> None:
        document = root_of(THREE_PAGES).pack()
        name = ManifestName(MIB, digest(document))
        other = ManifestRoot(THREE_PAGES, bytes(96)).pack()
        with pytest.raises(ManifestError, match="not the one that the record names"):
            ManifestRoot.verify(other, name, THREE_PAGES.size, digest)

    def test_name_and_record_must_tell_the_same_shape(self) -> None:
        document = root_of(THREE_PAGES).pack()
        name = ManifestName(MIB, digest(document))
        for wrong, size in (
            (replace(name, chunk_bytes=4 * MIB), THREE_PAGES.size),
            (name, THREE_PAGES.size + 1),
            (name, 0),
        ):
            with pytest.raises(ManifestError, match="another size than the record"):
                ManifestRoot.verify(document, wrong, size, digest)

    @pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 3), (1, 2), (2, 1), (0, 0)])
    def test_pages_are_split_and_proven(self, first: int, count: int) -> None:
        pages = pages_of(THREE_PAGES)[first : first + count]
        root = root_of(THREE_PAGES)
        assert root.verify_pages(first, count, b"".join(pages), digest) == tuple(pages)

    @pytest.mark.parametrize(
        ("first", "count", "message"),
        [(0, 4, "page 3 of 3"), (3, 1, "page 3 of 3"), (-1, 1, "page -1 of 3")],
    )
    def test_pages_that_are_not_there(self, first: int, count: int, message: str) -> None:
        with pytest.raises(ManifestError, match=message):
            root_of(THREE_PAGES).verify_pages(first, count, b"", digest)

    @given(st.integers(0, 2 * PAGE_BYTES + DIGEST_BYTES - 1), st.integers(1, 255))
    def test_one_wrong_byte_in_pages_is_seen(self, place: int, change: int) -> None:
        body = bytearray(b"".join(pages_of(THREE_PAGES)))
        body[place] ^= change
        with pytest.raises(ManifestError, match=f"page {place // PAGE_BYTES} is not"):
            root_of(THREE_PAGES).verify_pages(0, 3, bytes(body), digest)

    @pytest.mark.parametrize("more", [-1, 1])
    def test_pages_of_another_length_are_refused(self, more: int) -> None:
        body = b"".join(pages_of(THREE_PAGES)) + b"\0"
        with pytest.raises(ManifestError, match="bytes of pages, not"):
            root_of(THREE_PAGES).verify_pages(0, 3, body[: len(body) - 1 + more], digest)
