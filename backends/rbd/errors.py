"""What Ceph's libraries say, translated."""

from __future__ import annotations

import errno
import os

import rados
import rbd

from backends.errors import (
    DeniedError,
    DuplicateError,
    InUseError,
    InvalidError,
    MissingError,
    NoSpaceError,
    StoreError,
    UnavailableError,
)

CEPH_ERRORS = (rados.Error, rbd.Error)

# EROFS passes by itself: it is what a write gets whose lock of the image was lost meanwhile.
_KINDS: dict[int, type[StoreError]] = {
    errno.ENOENT: MissingError,
    errno.EEXIST: DuplicateError,
    errno.EBUSY: InUseError,
    errno.ENOTEMPTY: InUseError,
    errno.ENOSPC: NoSpaceError,
    errno.EDQUOT: NoSpaceError,
    errno.EACCES: DeniedError,
    errno.EPERM: DeniedError,
    errno.EINVAL: InvalidError,
    errno.EDOM: InvalidError,
    errno.ENAMETOOLONG: InvalidError,
}


def number_of(error: Exception) -> int:
    """Return the number that librados or librbd tells, 0 where it is none of the system's."""
    return int(getattr(error, "errno", None) or 0)


def failure(what: object, number: int) -> StoreError:
    """Return the error for one of errno's numbers; what is not known may pass by itself."""
    kind = _KINDS.get(abs(number), UnavailableError)
    return kind(f"{what}: {os.strerror(abs(number)) if number else 'not as Ceph has it'}")
