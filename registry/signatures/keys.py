"""Certificates from an operator's key manager: Barbican or Vault, by castellan.

castellan blocks, without a bound of its own: it has threads to itself, and whoever waits gives up.
It is imported when the first signed image comes, for it takes half a second and few clouds sign.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from oslo_config import cfg

from backends.threads import Threads
from registry.domain.errors import InvalidRequestError, UnavailableError
from registry.domain.identity import Identity
from registry.signatures.options import KeySettings
from registry.signatures.verifying import unverifiable

LOG = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 60.0  # of the key manager, Keystone's included
_THREADS: Final = 4


class Keys:
    """The key manager.  Open for as long as the context lasts."""

    def __init__(self, settings: KeySettings) -> None:
        self._settings = settings
        self._threads = Threads("keys", _THREADS, ANSWER_SECONDS, "the key manager")
        self._manager: Any = None

    def close(self) -> None:
        """Let the threads go; does not wait for calls that hang."""
        self._threads.close()

    async def certificate(self, identity: Identity, image_id: str, certificate_id: str) -> bytes:
        """Return the certificate (X.509, DER) of an image, which the caller may read.

        `SignatureError` says why there is none, in Glance's words; `UnavailableError` if the key
        manager does not answer.
        """
        asked = self._threads.submit(lambda: self._get(identity, image_id, certificate_id))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            raise UnavailableError("The key manager does not answer.") from None

    def _get(self, identity: Identity, image_id: str, certificate_id: str) -> bytes:
        """Ask; blocks."""
        from castellan.common import exception as failures  # noqa: PLC0415  # see above

        try:
            found = self._opened().get(_context(identity), certificate_id)
        except failures.ManagedObjectNotFoundError:
            raise unverifiable(
                image_id, f"Certificate not found with ID: {certificate_id}"
            ) from None
        except failures.KeyManagerError as error:
            LOG.error("certificate %s cannot be read: %s", certificate_id, error)  # noqa: TRY400  # what it says is enough
            raise unverifiable(
                image_id, f"Unable to retrieve certificate with ID: {certificate_id}"
            ) from None
        except ValueError as error:  # castellan's for what is no certificate
            raise InvalidRequestError(str(error)) from None
        except Exception as error:
            LOG.exception("certificate %s cannot be read", certificate_id)
            raise UnavailableError("The key manager has failed.") from error
        if found.format != "X.509":  # what keys, too, call themselves
            raise unverifiable(image_id, f"Invalid certificate format: {found.format}")
        return bytes(found.get_encoded())

    def _opened(self) -> Any:
        if self._manager is None:
            from castellan import key_manager  # noqa: PLC0415  # see above

            conf = cfg.ConfigOpts()
            files = [str(file) for file in self._settings.files]
            conf(args=[], project="glance", default_config_files=files, default_config_dirs=[])
            self._manager = key_manager.API(conf)
        return self._manager


def _context(identity: Identity) -> Any:
    """Return who asks, as castellan knows it."""
    from oslo_context.context import RequestContext  # noqa: PLC0415  # comes with castellan

    return RequestContext(
        auth_token=identity.token,
        user_id=identity.user_id,
        project_id=identity.project_id,
        overwrite=False,
    )
