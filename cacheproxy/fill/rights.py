"""With whose right one fill reads: that of its readers, each for the own image, then the proxy's own.

Rules

* Who waits comes before who has left, and the latest before the earlier: a token that was shown a
  moment ago lasts longest.
* What the upstream refused once is not used again; the next one goes on at the byte.
* The proxy's own account comes last, and only for an image that a reader of this fill has asked for:
  nobody becomes one whom the upstream has not allowed to download that image.
* Everything is kept in memory, until the fill ends, and never printed.
"""

from __future__ import annotations

from collections.abc import Collection

from cacheproxy.errors import AccountError, RightLostError, UpstreamAnswerError
from cacheproxy.fill.demand import Credential, Demand
from cacheproxy.fill.source import OwnAccount

CREDENTIALS_MAX = 64  # kept of readers who have left, and of their images
TOKENS_MAX = 2  # of the proxy's own, refused with 401 one after the other


class Rights:
    """The credentials of one fill; what it may be asked with next."""

    def __init__(self, account: OwnAccount) -> None:
        self._account = account
        self._kept: dict[Credential, None] = {}  # the latest last
        self._images: dict[str, None] = {}  # of all readers, the latest last
        self._refused: set[Credential] = set()
        self._denied: set[str] = set()  # images that the proxy's own account may not read
        self._stale: dict[str, set[Credential]] = {}  # its tokens that were no good, by image
        self._suspect: set[str] = set()  # images whose source sent wrong bytes
        self._answer = "nobody has asked"  # to the last who was refused

    def __repr__(self) -> str:
        return f"<Rights {len(self._kept)} kept, {len(self._refused)} refused>"

    def add(self, credential: Credential) -> None:
        """A reader has come."""
        if not credential.own and credential not in self._refused:
            self._kept.pop(credential, None)
            self._kept[credential] = None
        self._images.pop(credential.image_id, None)
        self._images[credential.image_id] = None
        if len(self._kept) > CREDENTIALS_MAX:
            del self._kept[next(iter(self._kept))]
        if len(self._images) > CREDENTIALS_MAX:
            del self._images[next(iter(self._images))]

    def suspect(self, image_id: str) -> None:
        """What came for this image was wrong; equal content of another is asked for first."""
        self._suspect.add(image_id)

    def accept(self, credential: Credential) -> None:
        """The upstream took it."""
        if credential.own:
            self._stale.pop(credential.image_id, None)

    def refuse(self, credential: Credential, answer: UpstreamAnswerError) -> None:
        """The upstream took it for no right: 401, 403 or 404."""
        self._answer = str(answer)
        if not credential.own:
            self._kept.pop(credential, None)
            self._refused.add(credential)
        elif answer.status == 401:
            self._account.refused(credential.headers)
            self._stale.setdefault(credential.image_id, set()).add(credential)
        else:
            self._denied.add(credential.image_id)

    def left(self, present: Collection[Demand]) -> bool:
        """Whether there is anybody as whom the upstream can still be asked."""
        return self._reader(present) is not None or self._own_image() is not None

    async def choose(self, present: Collection[Demand]) -> Credential:
        """Choose with whose right to ask; `RightLostError` if there is nobody left.

        `present` are the readers who wait, the latest last; it may change meanwhile.
        """
        credential = self._reader(present)
        image_id = self._own_image()
        if credential is not None:
            return credential
        if image_id is None:
            raise self.lost()
        try:
            headers = await self._account.headers()
        except AccountError as error:
            if (credential := self._reader(present)) is None:
                raise RightLostError(f"{self._answer}; {error}") from error
            return credential
        # Somebody may have come meanwhile.
        return self._reader(present) or Credential(image_id, tuple(headers), own=True)

    def lost(self) -> RightLostError:
        """Say why nobody is left."""
        return RightLostError(self._answer)

    def clear(self) -> None:
        """The fill has ended: forget them all."""
        for kept in (self._kept, self._images, self._refused, self._stale):
            kept.clear()

    def _reader(self, present: Collection[Demand]) -> Credential | None:
        latest = [each.credential for each in present if not each.credential.own][::-1]
        self._refused.intersection_update(latest)  # of others there is nothing left to use
        usable = [each for each in (*latest, *reversed(self._kept)) if each not in self._refused]
        return min(usable, key=lambda each: each.image_id in self._suspect, default=None)

    def _own_image(self) -> str | None:
        """Return for which image the proxy's own account may be used."""
        if not self._account.configured:
            return None
        usable = [
            image_id
            for image_id in reversed(self._images)
            if image_id not in self._denied and len(self._stale.get(image_id, ())) < TOKENS_MAX
        ]
        return min(usable, key=lambda each: each in self._suspect, default=None)
