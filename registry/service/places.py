"""What documents tell of where an image's data is: its stores, and locations if the operator will."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from backends.location import Location
from registry.domain import access
from registry.domain.documents import Document
from registry.domain.identity import Identity
from registry.domain.image import Image, ImageLocation
from registry.service.stores import Stores


@dataclass(frozen=True, slots=True)
class Places:
    """The view of places, the heaviest store first."""

    stores: Stores
    show_direct_url: bool = False
    show_locations: bool = False

    def document(self, identity: Identity, image: Image) -> Document:
        """Return the fields to add to an image's document, as a caller is shown it.

        Locations are shown without the credentials that their URLs may carry.
        """
        document: Document = {}
        if not (self.show_direct_url or self.show_locations or self.stores.settings.several):
            return document
        places = self.stores.in_order(access.told_locations(identity, image))
        if self.show_locations:
            document["locations"] = shown_places(places)
        if self.show_direct_url and places:
            document["direct_url"] = Location(places[0].url).bare.uri
        if self.stores.settings.several:
            names = [name for place in places if (name := self.stores.name_of(place))]
            if names:
                document["stores"] = ",".join(names)
        return document


def shown_places(places: Iterable[ImageLocation]) -> list[Document]:
    """Return places as the API shows them: without the credentials that their URLs may carry."""
    return [{"url": shown_url(place.url), "metadata": place.metadata} for place in places]


def shown_url(url: str) -> str:
    """Return a place without the credentials that its URL may carry."""
    return Location(url).bare.uri


def is_web(url: str) -> bool:
    """Tell whether a place is a web address: nobody here can delete what is there."""
    return Location(url).scheme in {"http", "https"}
