"""Which of several stores of one kind holds a location: what tells them apart.  Pure."""

from __future__ import annotations

from typing import assert_never

from backends.errors import InvalidError
from backends.location import Location
from backends.opening import SCHEMES
from backends.options import FilesystemOptions, HttpOptions, MemoryOptions, StoreOptions
from backends.rbd.location import Address as RbdAddress
from backends.rbd.options import RbdOptions
from backends.s3.location import Address, Endpoint
from backends.s3.options import S3Options
from backends.swift.location import SwiftLocation, parse
from backends.swift.options import SwiftOptions


def is_of_kind(options: StoreOptions, location: Location) -> bool:
    """Tell whether a store with these options has a location's scheme."""
    return isinstance(options, SCHEMES.get(location.scheme, ()))


def closeness(options: StoreOptions, location: Location) -> int:
    """Return how well a location fits a store of its kind: 0 not at all, the more the better.

    What it says of places counts: a directory; cluster and pool; host and bucket; account and
    container.
    """
    try:
        match options:
            case FilesystemOptions():
                return _in_directory(options, location)
            case RbdOptions():
                return _in_pool(options, RbdAddress.of(location))
            case S3Options():
                return _in_bucket(options, location)
            case SwiftOptions():
                return _in_account(options, parse(location))
            case HttpOptions() | MemoryOptions():
                return 1
            case _:
                assert_never(options)
    except InvalidError:
        return 0


def is_within(options: StoreOptions, location: Location) -> bool:
    """Tell whether a location is in the very place that a store with these options is for.

    Other directories, buckets, containers and pools of the same server are not, nor is anything of
    a store that serves each caller with the caller's own token.
    """
    if not closeness(options, location):
        return False
    match options:
        case SwiftOptions():
            return not options.multi_tenant and _contains(options, parse(location))
        case RbdOptions():
            return RbdAddress.of(location).pool in {options.pool, None}
        case _:
            return True


def _in_directory(options: FilesystemOptions, location: Location) -> int:
    parent = location.uri.partition("://")[2].rpartition("/")[0].rstrip("/")
    return int(parent in {str(directory.path) for directory in options.directories})


def _in_pool(options: RbdOptions, address: RbdAddress) -> int:
    if address.fsid is None:
        return 1
    if options.fsid and options.fsid != address.fsid:
        return 0
    return 1 + 2 * int(options.fsid == address.fsid) + int(options.pool == address.pool)


def _in_bucket(options: S3Options, location: Location) -> int:
    address = Address.of(location)
    if address.bucket != options.bucket:
        return 0
    authority = Endpoint.of(options.host).authority
    before = location.uri.rstrip("/").removesuffix(f"/{address.bucket}/{address.key}")
    host = before.partition("://")[2].rpartition("@")[2].strip("/")
    return 1 + int(host == authority)


def _in_account(options: SwiftOptions, place: SwiftLocation) -> int:
    account = 2 * _account(options, place)
    return account + int(_contains(options, place)) if account else 0


def _contains(options: SwiftOptions, place: SwiftLocation) -> bool:
    seeded = options.container + "_"  # also of a multi-tenant store
    return place.container == options.container or place.container.startswith(seeded)


def _account(options: SwiftOptions, place: SwiftLocation) -> int:
    if place.reference:
        if place.reference not in options.accounts:
            return 0
        return 2 if place.reference == options.default_reference else 1
    if not place.user and options.multi_tenant:
        return 1
    own = options.accounts.get(options.default_reference)
    if own is None or _bare(own.auth_address) != _bare(place.address):
        return 0
    return 2 if own.user == place.user and not options.locations_name_references else 1


def _bare(address: str) -> str:
    return address.rpartition("://")[2].strip("/")
