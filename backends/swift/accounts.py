"""Whose an object is: from locations to identities, and from new images to locations."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from backends.errors import DeniedError, InvalidError
from backends.location import Location
from backends.swift.client import Target
from backends.swift.identity import Caller, Identity, KeystoneAccount
from backends.swift.location import SwiftLocation, container_of, parse
from backends.swift.options import SwiftAccount, SwiftOptions


class SwiftAccounts:
    """The accounts of a store of our own."""

    def __init__(self, options: SwiftOptions) -> None:
        self._options = options
        self._logins: dict[SwiftAccount, KeystoneAccount] = {}

    def __repr__(self) -> str:
        return self._default.auth_address

    def target(self, location: Location) -> Target:
        """Return where a location leads; InvalidError if it names no account."""
        place = parse(location)
        return Target(self._identity(location, place), place.container, place.name, location)

    def new_location(self, name: str) -> Location:
        """Return where the image `name` is to be."""
        options = self._options
        container = container_of(options.container, options.containers_seed, name)
        if options.locations_name_references:
            place = SwiftLocation(container, name, reference=options.default_reference)
        else:
            account = self._default
            address = _address(account)
            place = SwiftLocation(container, name, address, account.user, account.key)
        return Location(place.uri)

    async def aclose(self) -> None:
        """Forget all tokens."""
        for login in self._logins.values():
            await login.aclose()
        self._logins.clear()

    @property
    def _default(self) -> SwiftAccount:
        return self._options.accounts[self._options.default_reference]

    def _identity(self, location: Location, place: SwiftLocation) -> Identity:
        account = self._account(location, place)
        login = self._logins.get(account)
        if login is None:
            login = self._logins[account] = KeystoneAccount(account, self._options)
        return login

    def _account(self, location: Location, place: SwiftLocation) -> SwiftAccount:
        if place.reference:
            try:
                return self._options.accounts[place.reference]
            except KeyError:
                raise InvalidError(f"{location}: no account is called like that") from None
        if place.user:  # in the domains of our own account, as Glance has it
            return replace(
                self._default,
                auth_address=place.address,
                user=place.user,
                key=place.key,
                application_credential_id="",
                application_credential_secret="",
            )
        if place.address.strip("/") == _address(self._default):
            return self._default  # with an application credential, which no location shows
        raise InvalidError(f"{location}: says nothing of an account")


class CallersAccount:
    """The account of whoever calls a multi-tenant store.

    Locations lead into it, or to others of the same Swift that let the caller in.
    """

    def __init__(self, options: SwiftOptions, token: str, storage_url: str) -> None:
        self._options = options
        self._token = token
        self._storage_url = storage_url.rstrip("/")

    def __repr__(self) -> str:
        return self._storage_url

    def target(self, location: Location) -> Target:
        """Return where a location leads; the caller's token goes to no other server."""
        place = parse(location)
        if place.user or place.reference:
            raise InvalidError(f"{location}: an account's, in a store of many")
        if _origin(place.address) != _origin(self._storage_url):
            raise DeniedError(f"{location}: is not on the caller's Swift")
        return Target(Caller(self._token, place.address), place.container, place.name, location)

    def new_location(self, name: str) -> Location:
        """Return where the image `name` is to be: in a container of its own."""
        container = f"{self._options.container}_{name}"
        return Location(SwiftLocation(container, name, self._storage_url).uri)

    async def aclose(self) -> None:
        """Nothing is held."""


class Nobody:
    """Who calls a multi-tenant store of whom nobody has said."""

    def __repr__(self) -> str:
        return "nobody"

    def target(self, location: Location) -> Target:
        """Refuse."""
        parse(location)
        raise DeniedError(f"{location}: a multi-tenant store has no account of its own")

    def new_location(self, name: str) -> Location:
        """Refuse."""
        raise DeniedError(f"{name}: a multi-tenant store has no account of its own")

    async def aclose(self) -> None:
        """Nothing is held."""


Accounts = SwiftAccounts | CallersAccount | Nobody


def _address(account: SwiftAccount) -> str:
    address = account.auth_address.rstrip("/")
    return address if "://" in address else f"https://{address}"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
