"""Which header fields travel on, and which end at the proxy.  Pure.

Names compare without case; values and the order of repeated fields stay as they came.
"""

from __future__ import annotations

from collections.abc import Sequence

Headers = Sequence[tuple[str, str]]

# RFC 9110 section 7.6.1, and those that RFC 2616 section 13.5.1 also ended at each hop.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# What a question of the proxy's own does not inherit from the request that caused it: where it
# goes, which part is wanted (Glance also reads a request's Content-Range as a range), on which
# condition, and everything about a body.
_ABOUT_ONE_REQUEST = frozenset(
    {
        "accept-encoding",
        "content-encoding",
        "content-length",
        "content-range",
        "expect",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
    }
)


def relayed(headers: Headers, *also_dropped: str) -> list[tuple[str, str]]:
    """Return what travels on: all but hop-by-hop fields, those that `Connection` names, and these.

    `also_dropped` are lower-case names.  Repeated fields take the spelling of their first, because
    aiohttp's client keeps only the last of two names that differ in case.
    """
    dropped = HOP_BY_HOP.union(also_dropped, _named_by_connection(headers))
    spelling: dict[str, str] = {}
    return [
        (spelling.setdefault(lower, name), value)
        for name, value in headers
        if (lower := name.lower()) not in dropped
    ]


def end_to_end(headers: Headers) -> list[tuple[str, str]]:
    """Return a client's fields for a question of the proxy's own, asked with its credentials.

    Both tokens and the request id stay.  The answer is asked for without a content coding: it is
    read here, and image data is hashed as it comes.
    """
    return [*relayed(headers, *_ABOUT_ONE_REQUEST), ("Accept-Encoding", "identity")]


def _named_by_connection(headers: Headers) -> set[str]:
    return {
        option.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for option in value.split(",")
    }
