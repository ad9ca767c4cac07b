"""What a download request asks of the data: which span, or nothing new.  Pure.

Beyond Glance: `ETag`, `If-None-Match` and `If-Range`.  Image data never changes under an id, and an
id is never used twice, so the id itself is a strong validator.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import hdrs

from backends.spans import (
    RangeNotSatisfiableError,
    Span,
    parse_content_range,
    parse_range,
)


def entity_tag(image_id: str) -> str:
    """Return the `ETag` of an image's data."""
    return f'"{image_id}"'


def is_unchanged(headers: Mapping[str, str], etag: str) -> bool:
    """Tell whether `If-None-Match` names this data: 304 (RFC 9110 section 13.1.2, weak)."""
    given = headers.get(hdrs.IF_NONE_MATCH)
    if given is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return "*" in tags or etag in tags


def wanted_span(headers: Mapping[str, str], etag: str, size: int) -> Span | None:
    """Return the span that a GET asks for, None for the whole.

    `If-Range` must be the exact tag, else the range does not count; a date never matches
    (RFC 9110 section 13.1.5).  A `Content-Range` in the request means the same as a range, as in
    Glance.  Raises what `backends.spans.parse_range` does.
    """
    asked = headers.get(hdrs.RANGE)
    if asked is not None:
        if headers.get(hdrs.IF_RANGE, etag).strip() != etag:
            return None
        return parse_range(asked, size)
    legacy = headers.get(hdrs.CONTENT_RANGE)
    if legacy is None:
        return None
    try:
        named = parse_content_range(legacy)
    except ValueError as error:
        raise RangeNotSatisfiableError(legacy) from error
    if named.span.start >= size or (named.size is None and named.span.stop > size):
        raise RangeNotSatisfiableError(legacy)
    return named.span.clip(Span(0, size))
