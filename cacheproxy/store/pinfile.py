"""The file of pinned images.  Blocking: called in threads only, by one at a time.

A pin is a promise, and the one thing in the cache that cannot be learnt again: it is synced before
anybody is told of it, and it is not in the index, which may be lost.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable

from cacheproxy.errors import StorageError
from cacheproxy.store.files import ChunkFiles, storage_error, translated
from cacheproxy.store.pintext import BYTES_MAX, Pinned, PinsDamagedError, pack, unpack
from cacheproxy.store.tree import PINS, temporary_name

log = logging.getLogger(__name__)

BAD_TOLD_MAX = 8  # lines that the log names
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # says nothing of the file
_BLOCK = 512


class PinFile:
    """`pins` in an open tree; `cost` is what it takes on disk, read by anybody."""

    def __init__(self, files: ChunkFiles) -> None:
        """Look at it; `StorageError` if the disk fails."""
        self._top = files.top
        self._staging = files.staging
        with translated("looking at the pins"):
            self.cost = self._cost()

    def load(self, set_aside: Callable[[], None]) -> dict[str, int]:
        """Return the pinned images, those that can be read; a damaged file is set aside.

        `StorageError` only for what says nothing of the file: no descriptors, no memory.
        """
        try:
            text = self._read()
            found = unpack(text)
        except FileNotFoundError:
            return {}
        except PinsDamagedError as error:
            why = str(error)
        except OSError as error:
            if error.errno in _PASSING:
                raise storage_error(error, "reading the pins") from error
            why = str(error.strerror)
        else:
            for number in found.bad_lines[:BAD_TOLD_MAX]:
                log.error("line %d of the file of pinned images is damaged", number)
            if found.bad_lines or found.missing:
                log.error(
                    "%d images are pinned, at least %d more were: pin them again",
                    *(len(found.images), found.missing),
                )
            return found.images
        log.error(
            "the file of pinned images cannot be read (%s): it is set aside in quarantine, and no"
            " image is pinned: pin them again",
            why,
        )
        try:
            set_aside()
            with translated("looking at the pins"):
                self.cost = self._cost()
        except StorageError as error:
            log.error("the file of pinned images stays where it is: %s", error)  # noqa: TRY400 -- it is told, and no defect
        return {}

    def replace(self, images: Pinned, before: Pinned) -> None:
        """Have these images in the file, durably.

        After a `StorageError` it has those of before, unless the disk fails at that as well.
        """
        with translated("writing the pins"):
            try:
                self._put(pack(images))
                try:
                    os.fsync(self._top)
                except OSError:
                    # It has its name, but maybe not after a power cut: what is not promised is not
                    # to be there.
                    self._put(pack(before))
                    raise
            finally:
                with contextlib.suppress(OSError):  # as before, as far as anybody can tell
                    self.cost = self._cost()

    def _read(self) -> bytes:
        # Whatever has the name, a pipe for instance: opening it does not wait.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(PINS, flags, dir_fd=self._top)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise PinsDamagedError("it is no regular file")
            if status.st_size > BYTES_MAX:
                raise PinsDamagedError(f"it has {status.st_size} bytes, more than {BYTES_MAX}")
            text = b""
            while len(text) < status.st_size and (more := os.read(fd, BYTES_MAX)):
                text += more
            return text
        finally:
            os.close(fd)

    def _put(self, text: bytes) -> None:
        temporary = temporary_name()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o640, dir_fd=self._staging)
        try:
            try:
                # The size first, so that no file system allocates ahead of the end.
                os.ftruncate(fd, len(text))
                written = 0
                while written < len(text):
                    written += os.write(fd, memoryview(text)[written:])
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, PINS, src_dir_fd=self._staging, dst_dir_fd=self._top)
        except BaseException:
            with contextlib.suppress(OSError):  # else the next start sweeps it
                os.unlink(temporary, dir_fd=self._staging)
            raise

    def _cost(self) -> int:
        try:
            return os.stat(PINS, dir_fd=self._top, follow_symlinks=False).st_blocks * _BLOCK
        except FileNotFoundError:
            return 0
