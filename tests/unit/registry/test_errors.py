"""The table of statuses holds every error."""

from __future__ import annotations

from collections.abc import Iterator

from registry.domain.errors import RegistryError
from registry.web.errors import STATUSES


def descendants(kind: type[RegistryError]) -> Iterator[type[RegistryError]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def test_every_error_has_a_status() -> None:
    told = tuple(kind for kind, _ in STATUSES)
    assert [kind for kind in descendants(RegistryError) if not issubclass(kind, told)] == []
