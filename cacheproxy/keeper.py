"""The process that owns the cache, as those who serve from it see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from backends.spans import Span
from cacheproxy.core.facts import ImageFacts
from cacheproxy.core.geometry import Grid
from cacheproxy.fill.source import Headers
from cacheproxy.hotset import HotFile, HotSet


class Description(Protocol):
    """What the keeper knows of an image."""

    @property
    def facts(self) -> ImageFacts | None:
        """The record, None if nothing is known."""

    @property
    def proven(self) -> bool:
        """Whether the whole matched its hash, or its catalog has published its manifest."""


class Reader(Protocol):
    """The keeper's chunks of one span, in order."""

    @property
    def proven(self) -> bool:
        """Whether the content was proven when the reader was opened."""

    async def ready(self) -> Grid:
        """Wait until chunks will come; how the content is cut."""

    async def chunk(self, index: int, known: bytes | None) -> tuple[HotFile, bool]:
        """Wait for the next chunk: a leased file, and whether it was fetched meanwhile.

        `known` is its digest, if that is remembered of the same image, proven: it may be open here.
        """

    def ahead(self, index: int) -> HotFile | None:
        """Return a chunk that has come, but is not due yet."""

    def close(self) -> None:
        """Stop."""


class Keeper(Protocol):
    """The process that owns the cache; `KeeperError` from any call: it is away."""

    @property
    def hot(self) -> HotSet:
        """The open files that it has sent."""

    async def describe(self, image_id: str) -> Description:
        """Ask what is known of an image."""

    async def adopt(self, facts: ImageFacts, headers: Headers) -> Description:
        """Have an image proven by its published manifest, if it can be."""

    def read(
        self, facts: ImageFacts, span: Span, headers: Headers, prefer: Sequence[str] = ()
    ) -> Reader:
        """Begin a reader, who would rather have what is absent read from the stores `prefer`."""

    async def doubt(self, digest: bytes, size: int) -> None:
        """Have a chunk read and hashed again, and set aside if it is damaged."""

    def hung(self) -> None:
        """Tell that the disk has not given a chunk in time."""

    def touch(self, digest: bytes) -> None:
        """Note a use of a chunk that the keeper was not asked for."""
