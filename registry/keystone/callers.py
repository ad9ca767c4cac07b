"""Who calls, by the tokens of a request; decided as keystonemiddleware does for Glance."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from registry.domain.errors import UnauthenticatedError
from registry.domain.identity import Identity, Rules
from registry.keystone.options import KeystoneSettings
from registry.keystone.token import Token
from registry.keystone.tokens import Tokens

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request shows, and what it is; a service shows its own token beside its user's."""

    token: str | None = field(repr=False)
    service_token: str | None = field(repr=False)
    method: str
    path: str


class Callers:
    """Turns credentials into identities."""

    def __init__(self, settings: KeystoneSettings, tokens: Tokens, rules: Rules) -> None:
        self._settings = settings
        self._tokens = tokens
        self._rules = rules

    async def identify(self, shown: Credentials) -> Identity:
        """Return who calls; `UnauthenticatedError`, or `UnavailableError` if Keystone does not say.

        A token for services that is not good is one that was not shown.  With a good one of a role
        of services, a user's token that has ended is good: images take their time.
        """
        if not shown.token:
            raise self._unauthenticated()
        service = await self._service(shown.service_token) if shown.service_token else None
        is_service = service is not None and bool(service.roles & self._settings.service_roles)
        token = await self._tokens.find(shown.token, allow_expired=is_service)
        if token is None or not self._within_rules(token, shown, by_service=service is not None):
            raise self._unauthenticated()
        return self._identity(token, service, shown.token)

    def recognise(self, shown: Credentials) -> Identity | None:
        """Return who calls as `identify` would, if nobody need be asked; None decides nothing."""
        token = self._tokens.remembered(shown.token) if shown.token else None
        if token is None or shown.token is None or token.access_rules is not None:
            return None
        service = None
        if shown.service_token:
            service = self._tokens.remembered(shown.service_token)
            if service is None or not self._may_serve(service):
                return None
        return self._identity(token, service, shown.token)

    async def _service(self, text: str) -> Token | None:
        token = await self._tokens.find(text)
        if token is None:
            LOG.info("a service's token is not good")
            return None
        if not self._may_serve(token):
            LOG.info("user %s shows a service's token and is none", token.user_id)
            return None
        return token

    def _may_serve(self, token: Token) -> bool:
        settings = self._settings
        return not settings.service_roles_required or bool(token.roles & settings.service_roles)

    def _within_rules(self, token: Token, shown: Credentials, *, by_service: bool) -> bool:
        """Tell whether an application credential may be used for this; in a service's hands, yes."""
        if token.access_rules is None:
            return True
        kind = self._settings.service_type
        if kind is None:
            LOG.warning(
                "[keystone_authtoken] service_type is not set: application credentials with access "
                "rules are refused"
            )
            return False
        return by_service or any(
            rule.service == kind and rule.matches(shown.method, shown.path)
            for rule in token.access_rules
        )

    def _identity(self, token: Token, service: Token | None, text: str) -> Identity:
        identity = Identity(
            project_id=token.project_id,
            user_id=token.user_id,
            is_admin=False,
            roles=token.roles,
            user_domain_id=token.user_domain_id,
            project_domain_id=token.project_domain_id,
            domain_id=token.domain_id,
            system_scope=token.system_scope,
            is_admin_project=token.is_admin_project,
            service_user_id=service.user_id if service else None,
            service_project_id=service.project_id if service else None,
            service_roles=service.roles if service else frozenset(),
            rules=self._rules,
            token=text,
        )
        return identity.judged()

    def _unauthenticated(self) -> UnauthenticatedError:
        return UnauthenticatedError(
            "This server could not verify that you are authorized to access the document you "
            "requested.",
            self._settings.challenge,
        )
