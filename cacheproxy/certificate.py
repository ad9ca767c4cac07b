"""What the proxy shows its clients over TLS: a certificate with its key, held in memory.

The supervisor reads the files, at the start and after SIGHUP, and gives workers their contents: one
that is started again while somebody replaces the files does not get a key without its certificate.
"""

from __future__ import annotations

import logging
import mmap
import os
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cacheproxy.config import Settings
from cacheproxy.errors import ConfigError

PEM_BYTES_MAX = 96 << 10  # of all files together: a worker is told in one message

_OTHERS = stat.S_IRWXO

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Contents of PEM files that fit each other."""

    chain: bytes = field(repr=False)  # the key may be in the same file
    key: bytes = field(repr=False)
    authorities: bytes = b""  # who vouches for clients; empty: clients show nothing

    @classmethod
    def read(cls, cert_file: Path, key_file: Path | None, ca_file: Path | None) -> Certificate:
        """Read and try them; ConfigError says which one is wrong, and how."""
        key_option, key_path = ("key_file", key_file) if key_file else ("cert_file", cert_file)
        made = cls(
            _read("cert_file", cert_file, secret=key_file is None),
            _read(key_option, key_path, secret=True),
            b"" if ca_file is None else _read("ca_file", ca_file, secret=False),
        )
        if len(made.chain) + len(made.key) + len(made.authorities) > PEM_BYTES_MAX:
            raise ConfigError(
                f"[DEFAULT] cert_file, key_file and ca_file have more than {PEM_BYTES_MAX} bytes:"
                " keep what is needed of them"
            )
        made.context()
        return made

    def context(self) -> ssl.SSLContext:
        """Return what a server side needs; ConfigError where the parts do not fit."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        try:
            with _file(self.chain) as chain, _file(self.key) as key:
                context.load_cert_chain(chain, key, password=_no_password)
        except ssl.SSLError as error:
            raise ConfigError(
                "[DEFAULT] cert_file and key_file: expected a certificate, those above it, and its"
                f" key without a password, in PEM: {error.reason or 'the key has a password'}"
            ) from error
        if self.authorities:
            try:
                context.load_verify_locations(cadata=self.authorities.decode("ascii"))
            except (ssl.SSLError, UnicodeDecodeError) as error:
                raise ConfigError("[DEFAULT] ca_file: no certificates in PEM") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _no_password() -> str:
    """Answer OpenSSL, which would ask a terminal."""
    return ""


def _read(option: str, path: Path, *, secret: bool) -> bytes:
    try:
        with path.open("rb") as file:
            if secret and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & _OTHERS:
                raise ConfigError(
                    f"[DEFAULT] {option} = {path}: everybody here may use this key;"
                    f" chmod o= {path}, and replace it if others are on this machine"
                )
            return file.read(PEM_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"[DEFAULT] {option} = {path}: cannot be read: {error.strerror}"
        ) from error


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """Give the path of a file in memory: OpenSSL's interface here takes nothing else."""
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        if content:
            os.truncate(fd, len(content))
            with mmap.mmap(fd, len(content)) as memory:  # workers do this on their loop
                memory[:] = content
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


class Shown:
    """The certificate in force, if any."""

    def __init__(self, settings: Settings) -> None:
        """Read it for the first time; ConfigError if it cannot be used."""
        self._settings = settings
        self.current = self._read_files()

    def renew(self) -> Certificate | None:
        """Read the files again; the certificate if it is another one.  A bad one is only logged."""
        try:
            found = self._read_files()
        except ConfigError as error:
            log.error("the certificate is not changed: %s", error)  # noqa: TRY400  (says what to do)
            return None
        if found == self.current:
            return None
        log.info("another certificate is shown from now on")
        self.current = found
        return found

    def _read_files(self) -> Certificate | None:
        settings = self._settings
        if settings.cert_file is None:
            return None
        return Certificate.read(settings.cert_file, settings.key_file, settings.ca_file)
