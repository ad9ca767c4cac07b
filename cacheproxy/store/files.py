"""Chunk files: whole, under their digests, in the tree of tree.py.  Blocking: called in threads only.

Nothing is synced: what a power cut takes or garbles is found by hashing, because no proof survives
a restart.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cacheproxy.core.proof import Identity
from cacheproxy.errors import (
    NO_SPACE,
    ChunkLostError,
    DiskFullError,
    ReadOnlyDiskError,
    StorageError,
)
from cacheproxy.store.digest import DIGEST_BYTES
from cacheproxy.store.proving import disk_holds, prove
from cacheproxy.store.quarantine import Quarantine
from cacheproxy.store.tree import PINS, PREFIXES, Tree, temporary_name

CHUNK_BYTES_MAX = 4 << 20  # the largest chunk there is; a larger file is none of ours or damaged

# Written at once: longer writes get larger blocks of memory, six times slower where those run short.
PIECE_BYTES = 256 << 10

_CHUNK_NAME = re.compile(r"[0-9a-f]{64}")
_BLOCK = 512  # the unit of st_blocks, on every Linux file system


def storage_error(error: OSError, doing: str) -> StorageError:
    """Translate what the disk said; the message names no path."""
    kind = StorageError
    if error.errno in NO_SPACE:
        kind = DiskFullError
    elif error.errno == errno.EROFS:
        kind = ReadOnlyDiskError
    return kind(f"{doing}: {error.strerror}")


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Let out `StorageError` instead of `OSError`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, doing) from error


@dataclass(frozen=True, slots=True)
class Written:
    """A chunk file that has its name now."""

    identity: Identity
    cost: int  # bytes on disk
    fd: int | None = None  # of the file, opened for reading; belongs to whoever was given this


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk file met in the directory."""

    digest: bytes
    size: int
    cost: int


class ChunkFiles:
    """The tree of one cache directory; every method may be called in any thread."""

    def __init__(self, tree: Tree) -> None:
        self.fresh = tree.fresh  # made just now: there are no files that the index might not know
        self.tree = tree
        self._unnamed = tree.unnamed_files
        # Descriptors of the directory itself, of chunks/ and staging/; `close` closes them.
        self.top = self._chunks = self.staging = -1
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self.top = os.open(tree.directory, flags)
            self._chunks = os.open(tree.chunks, flags)
            self.staging = os.open(tree.staging, flags)
            self._lock = threading.Lock()  # guards what is below
            self._quarantine = Quarantine(tree.quarantine)
            self._directories = [self._directory_cost(prefix) for prefix in range(PREFIXES)]
            self.directories = sum(self._directories)  # bytes on disk; read by anybody
        except BaseException:
            self._close_directories()
            raise

    # --- opening ----------------------------------------------------------------------------------

    @classmethod
    def open(cls, directory: Path, device: int | None = None) -> ChunkFiles:
        """Lock the directory and make the tree where it is missing.

        Raises `ConfigError` if it cannot be written, is of another version, or is in use;
        `StorageError` if the disk fails at the moment.
        """
        return cls._of(Tree.take(directory, device))

    @classmethod
    def examine(cls, directory: Path) -> ChunkFiles:
        """Lock the directory of a store, and change nothing in it; raises what `open` does."""
        return cls._of(Tree.examine(directory))

    @classmethod
    def _of(cls, tree: Tree) -> ChunkFiles:
        try:
            return cls(tree)
        except OSError as error:
            tree.release()
            raise tree.translated(tree.directory, error) from error

    def close(self) -> None:
        """Give the directory up."""
        self._close_directories()
        self.tree.release()

    def _close_directories(self) -> None:
        for fd in (self.top, self._chunks, self.staging):
            if fd >= 0:
                os.close(fd)

    @property
    def index_path(self) -> Path:
        """Where the index lives."""
        return self.tree.index

    def set_index_aside(self, bytes_max: int) -> None:
        """Move a damaged index into quarantine, which keeps at most `bytes_max`."""
        with translated("setting the damaged index aside"), self._lock:
            self._quarantine.take(self.index_path / "data.mdb", "index")
            self._quarantine.trim(bytes_max)
            (self.index_path / "lock.mdb").unlink(missing_ok=True)

    def set_pins_aside(self, bytes_max: int) -> None:
        """Move a damaged file of pins into quarantine, which keeps at most `bytes_max`."""
        with translated("setting the damaged pins aside"), self._lock:
            if not stat.S_ISREG(self.tree.pins.lstat().st_mode):
                raise StorageError("it is no regular file")  # so it is not ours
            self._quarantine.take(self.tree.pins, PINS)
            self._quarantine.trim(bytes_max)

    # --- what it takes on disk --------------------------------------------------------------------

    def overhead(self) -> int:
        """Return the bytes on disk of the directories and the marker, without index and pins."""
        with translated("looking at the cache directory"), self._lock:
            fixed = sum(_cost(path.stat()) for path in self.tree.fixed)
            return fixed + self.directories

    def quarantined(self) -> int:
        """Return the bytes on disk of the quarantine."""
        with self._lock:
            return self._quarantine.cost

    def index_cost(self) -> int:
        """Return the bytes on disk of the index file."""
        with translated("looking at the index"):
            return _cost((self.index_path / "data.mdb").stat())

    def _directory_cost(self, prefix: int) -> int:
        try:
            return _cost(os.stat(f"{prefix:02x}", dir_fd=self._chunks))
        except FileNotFoundError:
            return 0  # no chunk yet

    # --- chunks -----------------------------------------------------------------------------------

    def write(
        self, digest: bytes, data: bytes | memoryview, abandoned: Callable[[], bool]
    ) -> Written | None:
        """Make a chunk's file: whole, read-only to others, and only then with its name.

        The caller has hashed the data.  `abandoned` is asked before the name is given: True, and
        nothing is left, None is returned.  A file that a crash left there, and that is right, stays.
        """
        with translated("writing a chunk"):
            if (kept := self._kept(digest, len(data))) is not None:
                return kept
            name = _path(digest)
            temporary = None if self._unnamed else temporary_name()
            fd = self._create(name[:2], temporary)
            try:
                # The size first, so that no file system allocates ahead of the end.
                os.ftruncate(fd, len(data))
                written = 0
                while written < len(data):
                    written += os.write(fd, memoryview(data)[written : written + PIECE_BYTES])
                os.fchmod(fd, 0o440)
                if abandoned():
                    return None
                self._publish(fd, temporary, name)
                status = os.fstat(fd)  # after linking, which sets the ctime
            finally:
                if temporary is not None:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(temporary, dir_fd=self.staging)
                os.close(fd)
                self._look_at_directory(digest[0])
            with contextlib.suppress(StorageError):  # its first reader finds out
                return Written(Identity.of(status), _cost(status), self.open_chunk(digest)[0])
            return Written(Identity.of(status), _cost(status))

    def _kept(self, digest: bytes, size: int) -> Written | None:
        """Return the file that has the name already, if it is right.

        Workers of a keeper that crashed may still send from it: replaced, it would take its room
        without a name until they are done, and nobody would count it.
        """
        found = self.look(digest)
        if found is None or found.size != size:
            return None
        fd, identity = self.open_chunk(digest)
        try:
            if prove(fd, digest, size):
                return Written(identity, found.cost, fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def _create(self, prefix: str, temporary: str | None) -> int:
        if temporary is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            return os.open(temporary, flags, 0o600, dir_fd=self.staging)
        flags = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC
        try:
            return os.open(prefix, flags, 0o600, dir_fd=self._chunks)
        except FileNotFoundError:  # the first chunk of its prefix
            self._make_directory(prefix)
            return os.open(prefix, flags, 0o600, dir_fd=self._chunks)

    def _make_directory(self, prefix: str) -> None:
        with contextlib.suppress(FileExistsError):  # another thread was faster
            os.mkdir(prefix, 0o750, dir_fd=self._chunks)

    def _publish(self, fd: int, temporary: str | None, name: str) -> None:
        """Give the file its name; a wrong file that has it, unknown to the index, gives way."""
        if temporary is not None:
            try:
                os.rename(temporary, name, src_dir_fd=self.staging, dst_dir_fd=self._chunks)
            except FileNotFoundError:
                self._make_directory(name[:2])
                os.rename(temporary, name, src_dir_fd=self.staging, dst_dir_fd=self._chunks)
            return
        source = f"/proc/self/fd/{fd}"
        try:
            os.link(source, name, dst_dir_fd=self._chunks, follow_symlinks=True)
        except FileExistsError:
            os.unlink(name, dir_fd=self._chunks)
            os.link(source, name, dst_dir_fd=self._chunks, follow_symlinks=True)

    def _look_at_directory(self, prefix: int) -> None:
        """A directory only grows, by a name or by a file that was given up again."""
        with self._lock:
            before = self._directories[prefix]
            self._directories[prefix] = self._directory_cost(prefix)
            self.directories += self._directories[prefix] - before

    def open_chunk(self, digest: bytes) -> tuple[int, Identity]:
        """Open a chunk's file; the caller owns the descriptor.  `ChunkLostError` if it is gone."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(_path(digest), flags, dir_fd=self._chunks)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                raise ChunkLostError("the chunk's file is gone") from error
            raise storage_error(error, "opening a chunk") from error
        try:
            status = os.fstat(fd)
        except OSError as error:
            os.close(fd)
            raise storage_error(error, "opening a chunk") from error
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise ChunkLostError("the chunk's file is no regular file")
        return fd, Identity.of(status)

    def check(self, digest: bytes) -> tuple[int, bool]:
        """Return the size of a chunk's file, and whether the disk itself holds the right bytes.

        Raises what `open_chunk` does.
        """
        fd, identity = self.open_chunk(digest)
        try:
            fits = 0 < identity.size <= CHUNK_BYTES_MAX
            return identity.size, fits and disk_holds(fd, digest, identity.size)
        finally:
            os.close(fd)

    def unlink(self, digests: list[bytes]) -> list[int | StorageError]:
        """Remove chunk files, one after the other; returns the bytes on disk that each has freed.

        A file that is gone already frees none.
        """
        outcome: list[int | StorageError] = []
        for digest in digests:
            try:
                path = _path(digest)
                cost = _cost(os.stat(path, dir_fd=self._chunks, follow_symlinks=False))
                os.unlink(path, dir_fd=self._chunks)
            except FileNotFoundError:
                outcome.append(0)
            except OSError as error:
                outcome.append(storage_error(error, "removing a chunk"))
            else:
                outcome.append(cost)
        return outcome

    def set_aside(self, digest: bytes, bytes_max: int) -> int:
        """Move a damaged chunk into quarantine; returns the quarantine's bytes on disk.

        The quarantine keeps at most `bytes_max`; a file that is gone already is no error.
        """
        with translated("setting a damaged chunk aside"), self._lock:
            self._quarantine.take(self.tree.chunks / _path(digest), digest.hex())
            self._quarantine.trim(bytes_max)
            return self._quarantine.cost

    def empty_quarantine(self) -> int:
        """Remove all of the quarantine; returns its bytes on disk then (what cannot be removed)."""
        with self._lock:
            self._quarantine.trim(0)
            return self._quarantine.cost

    def found(self, prefix: int) -> list[Found]:
        """List the chunk files whose digest begins with this byte; others' files are left out."""
        listed: list[Found] = []
        with translated("listing chunks"):
            try:
                names = [path.name for path in (self.tree.chunks / f"{prefix:02x}").iterdir()]
            except FileNotFoundError:
                return listed
            for name in names:
                if _CHUNK_NAME.fullmatch(name) and name.startswith(f"{prefix:02x}"):
                    found = self.look(bytes.fromhex(name))
                    if found is not None:
                        listed.append(found)
        return listed

    def look(self, digest: bytes) -> Found | None:
        """Return what is there under a digest now, None if it is no regular file."""
        with translated("looking at a chunk"):
            try:
                status = os.stat(_path(digest), dir_fd=self._chunks, follow_symlinks=False)
            except FileNotFoundError:
                return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return Found(digest, status.st_size, _cost(status))

    def make_zeros(self) -> tuple[int, Identity]:
        """Open a nameless sparse file as long as the largest chunk; the caller owns it."""
        with translated("making the file of zeros"):
            try:
                writable, path = self._make_empty()
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                # What is stored can be served from a full disk, and so can zeros.
                writable, path = os.memfd_create("zeros", os.MFD_CLOEXEC), None
            try:
                os.ftruncate(writable, CHUNK_BYTES_MAX)
                os.fchmod(writable, 0o440)
                fd = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
            finally:
                if path is not None:
                    path.unlink()
                os.close(writable)
            return fd, Identity.of(os.fstat(fd))  # after unlinking, which sets the ctime

    def _make_empty(self) -> tuple[int, Path]:
        path = self.tree.staging / temporary_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(path, flags, 0o600), path


def _path(digest: bytes) -> str:
    assert len(digest) == DIGEST_BYTES
    name = digest.hex()
    return f"{name[:2]}/{name}"


def _cost(status: os.stat_result) -> int:
    return status.st_blocks * _BLOCK
