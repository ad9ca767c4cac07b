"""The ports to where image data and manifests come from: the Glance behind the proxy, as fills see it.

Errors: `UpstreamUnreachableError` (cut, stalled), `UpstreamAnswerError` (no data), and
`UpstreamLiesError` (an answer that contradicts itself or the question).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from backends.spans import Span

Headers = Sequence[tuple[str, str]]


class Body(Protocol):
    """Image data on its way."""

    @property
    def ranged(self) -> bool:
        """Whether it is the span asked for (206); else it is the whole image from byte 0 (200)."""

    @property
    def size(self) -> int | None:
        """The whole image's size in bytes, where the answer told it."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Give the bytes, to the end that was promised, or raise."""


class Source(Protocol):
    """Reads image data with somebody's credentials."""

    def read(
        self, image_id: str, headers: Headers, span: Span | None
    ) -> AbstractAsyncContextManager[Body]:
        """Ask for a span of an image, or with None for all of it, without `Range`."""


class ManifestSource(Protocol):
    """Reads published manifests with somebody's credentials."""

    async def manifest(
        self, image_id: str, headers: Headers, pages: range | None, bytes_max: int
    ) -> bytes:
        """Ask for pages of an image's manifest, or with None for its root document.

        `UpstreamLiesError` for more than `bytes_max`; whether it is right is for the caller to see.
        """


class Glance(Source, ManifestSource, Protocol):
    """Both: what is behind the proxy."""
