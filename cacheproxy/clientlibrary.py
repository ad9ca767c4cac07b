"""aiohttp, brought in without what it reads then and nobody here uses.

Its connector makes a TLS context when it is imported, for those who bring none, and has OpenSSL
read the machine's bundle of authorities into it: 35 ms of CPU of every keeper and worker.  Ours
bring their own context for every https URL; one without would find the bundle missing and trust
fewer, not more.
"""

from __future__ import annotations

import os

_BUNDLE = "SSL_CERT_FILE"  # where OpenSSL looks for it


def bring_in() -> None:
    """Import it; before anything else does, and before there are threads that start programs."""
    chosen = os.environ.get(_BUNDLE)
    os.environ[_BUNDLE] = os.devnull
    try:
        import aiohttp.connector  # noqa: F401, PLC0415
    finally:
        if chosen is None:
            del os.environ[_BUNDLE]
        else:
            os.environ[_BUNDLE] = chosen
