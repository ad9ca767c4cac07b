"""What must hold before anything is started: a place for the cache, and a Glance upstream.

They run in the supervisor before it forks, so they block, within bounds.
"""

from __future__ import annotations

import getpass
import http.client
import importlib.util
import json
import logging
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cacheproxy.config import UpstreamSettings
from cacheproxy.errors import ConfigError
from cacheproxy.upstream_tls import upstream_context

UPSTREAM_SECONDS = 5.0  # for one answer of the upstream
ANSWER_BYTES_MAX = 64 << 10
DIRECTORY_MODE = 0o750

# These say that there is nothing of the kind here; all others may have passing reasons.
_DEFINITE = frozenset({200, 300, 400, 404, 405, 410, 501})
_EXPECTED = "expected the base URL of a Glance, like http://glance.example:9292 or http://cloud.example/image"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    is_glance: bool


def check_directory(directory: Path) -> None:
    """Make the cache's directory and prove that files can be made in it, or raise ConfigError."""
    option = f"[cache] directory = {directory}"
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(f"{option}: that is no directory") from None
    except OSError as error:
        raise ConfigError(
            f"{option}: cannot be created: {_reason(error)}; create it, or set another one"
        ) from error
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ConfigError(
            f"{option}: user {_user()} cannot write there: {_reason(error)}; "
            "give it to that user, or set another one"
        ) from error


def check_notifications(transport_url: str) -> None:
    """Raise ConfigError if notifications are wanted and what sends them is not installed."""
    if transport_url and importlib.util.find_spec("oslo_messaging") is None:
        raise ConfigError(
            "[notifications] transport_url needs oslo.messaging, which is not installed;"
            " pip install 'cacheproxy[notifications]'"
        )


def check_authorities(section: str, cafile: Path | None) -> None:
    """Raise ConfigError if the certificates that a section names cannot be used."""
    try:
        ssl.create_default_context(cafile=cafile)
    except ssl.SSLError as error:
        raise ConfigError(f"[{section}] cafile = {cafile}: no certificates in PEM") from error
    except OSError as error:
        raise ConfigError(
            f"[{section}] cafile = {cafile}: cannot be read: {_reason(error)}"
        ) from error


def check_upstream(settings: UpstreamSettings) -> None:
    """Ask each of the upstream's URLs for its versions, and see that its TLS files can be used.

    ConfigError if something answers that is definitely no Glance.  What is away or ill now may be
    well when it is needed: that is only a warning.
    """
    context = upstream_context(settings)
    if context is not None and settings.insecure:
        log.warning(
            "[upstream] insecure = true: whoever answers is taken for the image service,"
            " and can read every token and send any image data"
        )
    for url in settings.urls:
        _check_url(url, context)


def _check_url(url: str, context: ssl.SSLContext | None) -> None:
    answers = []
    for path in ("/versions", "/"):
        try:
            answer = _ask(url, path, context)
        except (OSError, http.client.HTTPException) as error:
            log.warning("[upstream] url = %s does not answer now: %s", url, _reason(error))
            return
        if answer.is_glance:
            return
        if answer.status not in _DEFINITE:
            log.warning("[upstream] url = %s answers %d to GET %s now", url, answer.status, path)
            return
        answers.append(f"GET {path} answers {answer.status}")
    raise ConfigError(
        f"[upstream] url = {url}: that is no Glance ({', '.join(answers)}, "
        f"without a list of Images API versions); {_EXPECTED}"
    )


def _ask(url: str, path: str, context: ssl.SSLContext | None) -> _Answer:
    parts = urlsplit(url)
    host, port, seconds = parts.hostname or "", parts.port, UPSTREAM_SECONDS
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=seconds, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", parts.path + path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        return _Answer(response.status, _lists_versions(response.read(ANSWER_BYTES_MAX)))
    finally:
        connection.close()


def _lists_versions(body: bytes) -> bool:
    """Tell whether this is Glance's version document; those of other services are much like it."""
    try:
        versions = json.loads(body)["versions"]
        return any(str(version["id"]).startswith("v2") for version in versions)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


def _reason(error: Exception) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or " ".join(str(error).split()) or type(error).__name__
