"""What can go wrong at a store, said once for all drivers.

    StoreError
    ├── MissingError         the object is not there
    ├── DuplicateError       an object of that name is there already
    ├── InvalidError         bytes or answers that contradict what was promised (length, digest),
    │                        and names and locations that no such store can have
    ├── UnavailableError     the store does not answer, or not to the end; another try may succeed
    │   └── ThrottledError   it asks to be asked less often
    ├── NoSpaceError         the store is full, or a quota is
    ├── DeniedError          it refuses these credentials, this place, or is read-only
    ├── InUseError           the object cannot go while something depends on it
    └── UnsupportedError     this kind of store cannot do that at all

A driver translates its vendor's errors at its edge, once; `str()` of any of them is safe to log
and to show: no credentials.
"""

from __future__ import annotations


class StoreError(Exception):
    """Any failure of a store."""


class MissingError(StoreError):
    """The object is not there."""


class DuplicateError(StoreError):
    """An object of that name is there already."""


class InvalidError(StoreError):
    """Bytes or answers that contradict what was promised; names and locations of no such store."""


class UnavailableError(StoreError):
    """The store does not answer, or not to the end; another try may succeed."""


class ThrottledError(UnavailableError):
    """The store asks to be asked less often."""


class NoSpaceError(StoreError):
    """The store is full, or a quota is."""


class DeniedError(StoreError):
    """The store refuses these credentials or this place, or is read-only."""


class InUseError(StoreError):
    """The object cannot go while something depends on it."""


class UnsupportedError(StoreError):
    """This kind of store cannot do that at all."""
