"""The ports to where image data and manifests come from: the Glance behind the proxy, as fills see it.

Errors: `UpstreamUnreachableError` (cut, stalled), `UpstreamAnswerError` (no data), and
`UpstreamLiesError` (an answer that contradicts itself or the question); of stores that are read in
its stead, `StoreFailedError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from backends.spans import Span

Headers = Sequence[tuple[str, str]]


class Sink(Protocol):
    """Where a body goes, piece after piece."""

    @property
    def satisfied(self) -> bool:
        """Whether it takes nothing more."""

    def room(self) -> memoryview | None:
        """Return where the next bytes go, never empty; None: nowhere at present.

        Raises what is to end the transfer.
        """

    def advance(self, count: int) -> None:
        """So many bytes were put there; raises what is to end the transfer."""

    def listen(self, on_news: Callable[[], None] | None) -> None:
        """Have this called when `room` may say something else; None: nobody."""


class Body(Protocol):
    """Image data on its way."""

    @property
    def ranged(self) -> bool:
        """Whether it is the span asked for (206); else it is the whole image from byte 0 (200)."""

    @property
    def size(self) -> int | None:
        """The whole image's size in bytes, where the answer told it."""

    @property
    def bounded(self) -> bool:
        """Whether its end can be told from a cut: neither HTTP/1.0 nor a bare `Connection: close`."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Give the bytes, to the end that was promised, or raise."""

    async def into(self, sink: Sink) -> bool:
        """Put the bytes into a sink, without a copy in between, to their end or until it has enough.

        False, and nothing has happened, where only `pieces` can give them.  Instead of `pieces`.
        """


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


class Shortcut(Protocol):
    """An object of a store that holds an image's bytes: read in the upstream's stead."""

    def read(self, span: Span, size: int) -> AbstractAsyncContextManager[Body]:
        """Open a span of it, of an image of so many bytes; it and its body raise `StoreFailedError`."""

    def doubt(self) -> None:
        """What came from there was wrong: do not find it again."""


class Shortcuts(Protocol):
    """Finds where an image's bytes can be had without the upstream's help."""

    async def find(self, image_id: str, headers: Headers, prefer: Sequence[str]) -> Shortcut | None:
        """Find one for these credentials, rather in a store that `prefer` names; None: there is none.

        `UpstreamAnswerError` if the upstream refuses these credentials the image.
        """


class NoShortcuts:
    """For a proxy that reads no stores."""

    async def find(self, image_id: str, headers: Headers, prefer: Sequence[str]) -> None:
        """Find nothing, and ask nobody."""


class Glance(Source, ManifestSource, Protocol):
    """Both: what is behind the proxy."""


class OwnAccount(Protocol):
    """The proxy's own account, for when no reader's credentials are good any more."""

    @property
    def configured(self) -> bool:
        """Whether there is one."""

    async def headers(self) -> Headers:
        """Return headers that carry its token; AccountError if there is none to be had."""

    def refused(self, headers: Headers) -> None:
        """The upstream did not take this token."""
