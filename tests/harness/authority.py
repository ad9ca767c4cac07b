"""An authority of the tests' own: certificates for servers and clients, good ones and bad ones."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

HERE = "127.0.0.1"


class Authority:
    """Issues certificates; `cafile` is what those who trust it read."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self.cafile = directory / f"{name}.pem"
        self._directory = directory
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(self.cafile))

    def server(
        self, name: str = HERE, *, expired: bool = False, asks_for: Authority | None = None
    ) -> ssl.SSLContext:
        """Return what a server of this name listens with; `asks_for` whose certificates it wants."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._issue(name, expired=expired).configure_cert(context)
        if asks_for is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(asks_for.cafile)
        return context

    def files(self, name: str = HERE) -> tuple[Path, Path]:
        """Return the files of a new certificate and of its key."""
        issued = self._issue(name)
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key

    def together(self, name: str = HERE) -> Path:
        """Return a file that holds a new certificate and its key."""
        file = self._directory / f"{name}-both.pem"
        self._issue(name).private_key_and_cert_chain_pem.write_to_path(str(file))
        return file

    def _issue(self, name: str, *, expired: bool = False) -> trustme.LeafCert:
        end = datetime.now(UTC) - timedelta(days=1) if expired else None
        return self._authority.issue_cert(name, not_after=end)
