"""What the catalog's stores ask before they read the web for anybody: `UriFilter`, in their words."""

from __future__ import annotations

from collections.abc import Sequence

from backends.errors import DeniedError, UnavailableError
from backends.guard import Guard
from registry.domain.errors import InvalidRequestError
from registry.fetching.filtering import UnknownHostError, UriFilter


def guard_of(uri_filter: UriFilter) -> Guard:
    """Return a guard that lets through what the filter does."""

    async def guard(uri: str) -> Sequence[str]:
        try:
            return await uri_filter.addresses(uri)
        except UnknownHostError as error:  # another try may succeed
            raise UnavailableError(str(error)) from None
        except InvalidRequestError as error:
            raise DeniedError(str(error)) from None

    return guard
