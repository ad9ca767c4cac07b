"""Which chunks may go when contents go: those that no other content lists.

What a manifest lists may be more than memory should hold, so it is looked at in blocks, and for
each block all other manifests are read once, page by page, the loop having its turn in between.
A content that comes to be while this runs may be missed: its fill protects what it needs, and what
is dropped all the same is fetched again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from backends.manifest import DIGEST_BYTES, PAGE_DIGESTS
from cacheproxy.store.recordbook import RecordBook

BLOCK_DIGESTS = 64 * PAGE_DIGESTS  # held at once: some 10 MiB
_UNKNOWN = bytes(DIGEST_BYTES)


async def listed(book: RecordBook, contents: Collection[str]) -> AsyncIterator[dict[bytes, str]]:
    """Give the digests that contents list, each with one of them, in bounded blocks."""
    block: dict[bytes, str] = {}
    for key in contents:
        record = book.content(key)
        if record is None:
            continue
        async for page in book.manifest_pages(key, record):
            for digest in digests_of(page):
                if digest != _UNKNOWN:
                    block.setdefault(digest, key)
            if len(block) >= BLOCK_DIGESTS:
                yield block
                block = {}
    if block:
        yield block


async def unlisted(
    book: RecordBook, digests: Collection[bytes], *, besides: Collection[str] = ()
) -> set[bytes]:
    """Return those of the digests that no content lists, apart from the contents `besides`."""
    left = set(digests)
    if not left:
        return left
    async for key, record in book.contents():
        if key in besides:
            continue
        async for page in book.manifest_pages(key, record):
            left.difference_update(digests_of(page))
    return left


async def unshared(book: RecordBook, contents: Collection[str]) -> AsyncIterator[set[bytes]]:
    """Give the digests that these contents list and no other one does, in blocks."""
    async for block in listed(book, contents):
        yield await unlisted(book, block, besides=contents)


def digests_of(page: bytes) -> list[bytes]:
    """Return the digests of a packed manifest page; those not known yet are all zeros."""
    return [page[at : at + DIGEST_BYTES] for at in range(0, len(page), DIGEST_BYTES)]
