"""What clients ask of lists of namespaces, objects and tags.  The first of parameters counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.domain.errors import InvalidRequestError
from registry.domain.limits import FILTERS_MAX, Limits
from registry.domain.listing import parse_limit
from registry.domain.metadefs.records import PRIVATE, PUBLIC
from registry.domain.validation import check_text

NAMESPACE_KEYS = frozenset(
    {
        *("namespace", "display_name", "description", "visibility", "protected", "owner"),
        *("created_at", "updated_at", "id"),
    }
)
TAG_KEYS = frozenset({"name", "created_at", "updated_at", "id", "namespace_id"})


@dataclass(frozen=True, slots=True)
class Order:
    """Where a page begins, and in which order; behind the key, by time and number."""

    key: str
    descending: bool
    marker: str | None
    limit: int | None  # None: all

    def require_key(self, known: frozenset[str]) -> None:
        """Refuse a key that nothing can be sorted by."""
        if self.key not in known:
            raise InvalidRequestError(f"Unable to sort by '{self.key[:80]}'.")


@dataclass(frozen=True, slots=True)
class NamespaceQuery:
    """A question for a page of namespaces; None: whatever it is."""

    order: Order
    visibility: str | None
    resource_types: tuple[str, ...] | None
    parameters: tuple[tuple[str, str], ...]  # as sent, without the marker: for links

    @property
    def limit(self) -> int | None:
        """How many a page has at most."""
        return self.order.limit


def parse_namespace_query(parameters: Sequence[tuple[str, str]], limits: Limits) -> NamespaceQuery:
    """Read the query string of a list of namespaces."""
    first = _first(parameters)
    visibility = first.get("visibility")
    _require_visibility(visibility, (PUBLIC, PRIVATE))
    types = first.get("resource_types")
    wanted = None if types is None else tuple(dict.fromkeys(types.split(",")))
    if wanted is not None and len(wanted) > FILTERS_MAX:
        raise InvalidRequestError(f"More than {FILTERS_MAX} resource types.")
    order = _order(first, parse_limit(first.get("limit"), limits))
    order.require_key(NAMESPACE_KEYS)
    links = {name: value for name, value in parameters if name != "marker"}
    return NamespaceQuery(order, visibility, wanted, tuple(links.items()))


def parse_tag_query(parameters: Sequence[tuple[str, str]]) -> Order:
    """Read the query string of a list of tags; its key is yet to be looked at."""
    first = _first(parameters)
    _require_visibility(first.get("visibility"), (PUBLIC, PRIVATE, "shared"))
    limit = first.get("limit")
    return _order(first, _limit(limit, least=0) if limit else None)


def check_object_query(parameters: Sequence[tuple[str, str]]) -> None:
    """Refuse what makes no sense for a list of objects; the rest is not heeded: all are listed."""
    first = _first(parameters)
    _require_visibility(first.get("visibility"), (PUBLIC, PRIVATE, "shared"))
    _is_descending(first)
    if "limit" in first:
        _limit(first["limit"], least=1)


def wanted_resource_type(parameters: Sequence[tuple[str, str]]) -> str | None:
    """Return the resource type by whose prefix names are to be told."""
    return _first(parameters).get("resource_type") or None


def check_namespace_view(parameters: Sequence[tuple[str, str]]) -> None:
    """Refuse what makes no sense where one namespace is asked for."""
    _require_visibility(_first(parameters).get("visibility"), (PUBLIC, PRIVATE))


def _first(parameters: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    if len(parameters) > FILTERS_MAX:
        raise InvalidRequestError(f"More than {FILTERS_MAX} parameters.")
    check_text([part for pair in parameters for part in pair])
    return dict(reversed(parameters))


def _order(first: Mapping[str, str], limit: int | None) -> Order:
    key = first.get("sort_key", "created_at")
    return Order(key, _is_descending(first), first.get("marker"), limit)


def _is_descending(first: Mapping[str, str]) -> bool:
    direction = first.get("sort_dir", "desc")
    if direction not in {"asc", "desc"}:
        raise InvalidRequestError(f"Invalid sort direction: {direction[:80]}")
    return direction == "desc"


def _limit(text: str, *, least: int) -> int:
    try:
        limit = int(text)
    except ValueError:
        raise InvalidRequestError("limit param must be an integer") from None
    if limit < least:
        raise InvalidRequestError("limit param must be positive")
    return min(limit, LIMIT_MAX)


def _require_visibility(visibility: str | None, known: tuple[str, ...]) -> None:
    if visibility and visibility not in known:
        raise InvalidRequestError(f"Invalid visibility value: {visibility[:80]}")


LIMIT_MAX = (1 << 31) - 1  # what a database takes for a number of rows
