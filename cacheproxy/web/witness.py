"""What becomes of an answer with image data besides the answer: it is counted as a use."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from cacheproxy.web.image_file import Sent


class Uses(Protocol):
    """Counts how often images are used."""

    def used(self, image_id: str) -> None:
        """An image was answered from the cache alone."""


class Witness:
    """Is told of answers as they end; never waits."""

    def __init__(self, uses: Uses) -> None:
        self._uses = uses

    def __call__(self, _: web.BaseRequest, sent: Sent) -> None:
        """Take notice of an answer that has ended."""
        if sent.result == "hit":
            self._uses.used(sent.facts.image_id)
