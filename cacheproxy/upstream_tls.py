"""How the proxy and its upstream know each other over TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

from cacheproxy.config import UpstreamSettings
from cacheproxy.errors import ConfigError


def upstream_context(settings: UpstreamSettings) -> ssl.SSLContext | None:
    """Return what connections to https URLs are made with; None: there is no such URL.

    `ConfigError` names the option whose file cannot be used.
    """
    if not any(url.startswith("https:") for url in settings.urls):
        return None
    context = _trusting(settings.cafile)
    context.set_alpn_protocols(["http/1.1"])
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.certfile is not None:
        _show(context, settings.certfile, settings.keyfile)
    elif settings.keyfile is not None:
        raise ConfigError("[upstream] keyfile is set, but not certfile; set both, or neither")
    return context


def _trusting(cafile: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cafile)
    except ssl.SSLError as error:
        raise ConfigError(f"[upstream] cafile = {cafile}: no certificates in PEM") from error
    except OSError as error:
        raise ConfigError(
            f"[upstream] cafile = {cafile}: cannot be read: {error.strerror}"
        ) from error


def _show(context: ssl.SSLContext, certfile: Path, keyfile: Path | None) -> None:
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certfile, keyfile, password="")
    except ssl.SSLError as error:
        raise ConfigError(
            f"[upstream] certfile = {certfile}, keyfile = {keyfile or 'the same'}: not a certificate"
            f" and its key in PEM, without a passphrase ({error.reason})"
        ) from error
    except OSError as error:
        option, file = "certfile", certfile
        if keyfile is not None and _readable(certfile):  # OpenSSL does not say which of the two
            option, file = "keyfile", keyfile
        raise ConfigError(
            f"[upstream] {option} = {file}: cannot be read: {error.strerror}"
        ) from error


def _readable(file: Path) -> bool:
    try:
        file.read_bytes()
    except OSError:
        return False
    return True
