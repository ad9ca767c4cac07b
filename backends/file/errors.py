"""The file system's errors in the words of stores."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from backends.errors import (
    DeniedError,
    DuplicateError,
    InvalidError,
    MissingError,
    NoSpaceError,
    StoreError,
    UnavailableError,
)

_ERRORS: dict[int, type[StoreError]] = {
    errno.ENOENT: MissingError,
    errno.ENOTDIR: MissingError,
    errno.EEXIST: DuplicateError,
    errno.ENOSPC: NoSpaceError,
    errno.EDQUOT: NoSpaceError,
    errno.EFBIG: NoSpaceError,
    errno.EACCES: DeniedError,
    errno.EPERM: DeniedError,
    errno.EROFS: DeniedError,
    errno.ELOOP: DeniedError,  # a symbolic link where a file is expected
    errno.ENAMETOOLONG: InvalidError,
}


@contextmanager
def translated(what: object) -> Iterator[None]:
    """Turn an `OSError` into the store's; what is not known may pass by itself."""
    try:
        yield
    except OSError as error:
        kind = _ERRORS.get(error.errno or 0, UnavailableError)
        raise kind(f"{what}: {error.strerror}") from error
