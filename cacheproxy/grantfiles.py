"""The files of signed URLs: the keys, and until when URLs were renewed.  Blocking: use a thread.

    <directory>/        mode 0700
        keys            the secrets, newest first, as JSON; replaced as a whole
        keys.lock       held by whoever makes a key
        renewed/<name>  one small file for each renewed URL: when it ends, in seconds since 1970

All workers of a node use them.  They hold no token and no URL: a renewed URL is known by its hash.
Each file appears under its name only whole, and synced: what was answered outlives a power cut.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cacheproxy.core.grant import Key, Keys
from cacheproxy.errors import StorageError

KEYS_BYTES_MAX = 64 << 10
SECRET_BYTES = 32
NAME_BYTES = 8
RENEWED_MAX = 16_384  # renewed URLs that are remembered
_NUMBER_BYTES_MAX = 32


class _Key(msgspec.Struct):
    """A key as the file has it."""

    name: str
    made: int
    secret: bytes  # base64, in JSON


class _KeyFile(msgspec.Struct):
    """All of the file."""

    version: int
    keys: list[_Key]


class GrantFiles:
    """The directory of one node; it need not exist yet."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys = directory / "keys"
        self._renewed = directory / "renewed"

    def __repr__(self) -> str:
        return f"GrantFiles({self._directory})"

    def keys(self) -> Keys:
        """Return the keys; none, if the file is not there."""
        with _translated(f"reading {self._keys}"):
            try:
                fd = os.open(self._keys, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                return Keys(())
            try:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
                    raise StorageError(
                        f"{self._keys} is not believed: others may read or write it; chmod 600 it, or"
                        " remove it: a new one is made, and all signed URLs end"
                    )
                text = os.read(fd, KEYS_BYTES_MAX)
            finally:
                os.close(fd)
        try:
            found = msgspec.json.decode(text, type=_KeyFile)
        except msgspec.MsgspecError:
            found = _KeyFile(0, [])
        if found.version != 1 or any(len(key.secret) != SECRET_BYTES for key in found.keys):
            raise StorageError(
                f"{self._keys} cannot be read; remove it: a new one is made, and all signed URLs end"
            )
        return Keys([Key(key.name, key.made, key.secret) for key in found.keys])

    def signing(self, now: int, key_seconds: int, lifetime_max: int) -> Keys:
        """Return the keys, the newest of them young enough to sign; one is made if need be."""
        with _translated(f"making a key in {self._directory}"), self._locked():
            keys = self.keys()
            newest = keys.newest
            if newest is not None and now < newest.made + key_seconds:
                return keys
            made = Key(secrets.token_hex(NAME_BYTES), now, secrets.token_bytes(SECRET_BYTES))
            grown = Keys([made, *keys.keys])
            kept = [k for k in grown.keys if grown.verifying(k.name, now, lifetime_max)]
            text = msgspec.json.encode(
                _KeyFile(1, [_Key(key.name, key.made, key.secret) for key in kept])
            )
            _replace(self._keys, msgspec.json.format(text, indent=1))
            return Keys(kept)

    def renewed(self, name: str) -> int | None:
        """Return when a renewed URL ends, None if it was never renewed."""
        with _translated(f"reading {self._renewed}"):
            try:
                text = (self._renewed / name).read_bytes()[:_NUMBER_BYTES_MAX]
            except FileNotFoundError:
                return None
        return int(text) if text.isdigit() else None

    def renew(self, name: str, until: int, now: int, keep_seconds: int) -> int:
        """Have a URL not end before then; return when it ends.  Those long over are forgotten."""
        with _translated(f"writing to {self._renewed}"), self._locked():
            self._renewed.mkdir(mode=0o700, exist_ok=True)
            path = self._renewed / name
            if not path.exists() and self._sweep(now - keep_seconds) >= RENEWED_MAX:
                raise StorageError(f"{RENEWED_MAX} signed URLs are renewed already")
            until = max(until, self.renewed(name) or 0)
            _replace(path, b"%d" % until)
            return until

    def _sweep(self, before: int) -> int:
        """Remove what ended before this; return how many are left."""
        left = 0
        for each in list(self._renewed.iterdir()):
            until = self.renewed(each.name)
            if until is None or until < before:
                each.unlink()
            else:
                left += 1
        return left

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._directory / "keys.lock", flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _replace(path: Path, text: bytes) -> None:
    """Have these bytes under this name, durably, readable for this user only; under the lock."""
    temporary = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):  # of a process that was killed
        temporary.unlink()
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{doing}: {error.strerror or error}") from error
