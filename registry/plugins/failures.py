"""Failures of the disk on which images are worked on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from registry.domain.errors import LimitExceededError, UnavailableError

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def disk_failures() -> Iterator[None]:
    """Translate what the disk says."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise no_space() from error
        raise UnavailableError(f"The staging directory has failed: {error.strerror}") from error


def no_space() -> LimitExceededError:
    """Return the failure of a disk that is full."""
    return LimitExceededError("There is no space left to work on the image.")
