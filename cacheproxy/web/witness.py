"""What becomes of an answer with image data besides the answer: a count, and a notification."""

from __future__ import annotations

from typing import Protocol

from cacheproxy.identity import Identities, Identity
from cacheproxy.notifier import Notice, Notifier
from cacheproxy.web.image_file import Sent


class Uses(Protocol):
    """Counts how often images are used."""

    def used(self, image_id: str) -> None:
        """An image was answered from the cache alone."""


class Witness:
    """Is told of answers as they end; never waits."""

    def __init__(
        self, uses: Uses, identities: Identities | None, notifier: Notifier | None
    ) -> None:
        self._uses = uses
        self._identities = identities
        self._notifier = notifier

    @property
    def notifies(self) -> bool:
        """Whether anybody wants to know more of an answer than that there was one."""
        return self._notifier is not None

    def used(self, image_id: str) -> None:
        """Take notice of an answer from the cache alone, where nobody wants to know more."""
        self._uses.used(image_id)

    def __call__(self, sent: Sent, address: str | None, token: str | None) -> None:
        """Take notice of an answer that has ended, to whoever sent this token from there."""
        if sent.result == "hit":
            self._uses.used(sent.facts.image_id)
        if self._notifier is None or sent.result == "bypass":
            return  # Glance has sent that, and says so itself
        notify = self._notifier.send

        def tell(identity: Identity | None) -> None:
            notice = Notice(
                image_id=sent.facts.image_id,
                owner_id=sent.facts.owner,
                sent_bytes=sent.sent_bytes,
                complete=sent.sent_bytes == sent.expected_bytes,
                project_id=identity.project_id if identity else None,
                user_id=identity.user_id if identity else None,
                address=address,
            )
            notify(notice)

        if self._identities is None:
            tell(None)
        else:
            self._identities.tell(token, tell)
