"""Who calls, by the tokens of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from registry.domain.errors import UnauthenticatedError
from registry.domain.identity import Identity
from registry.keystone.callers import Callers, Credentials
from registry.keystone.options import KeystoneSettings
from registry.keystone.token import AccessRule, Token
from registry.keystone.tokens import Tokens

LATER = datetime.now(UTC) + timedelta(hours=1)
EARLIER = datetime.now(UTC) - timedelta(hours=1)
SETTINGS = KeystoneSettings(
    "http://private/v3", www_authenticate_uri="http://public/v3", service_type="image"
)


class Rules:
    """Role admin is the administrator's; nothing else is asked."""

    owners_only = False

    def allow(self, rule: str, identity: Identity, target: Mapping[str, Any]) -> bool:
        assert (rule, target) == ("context_is_admin", {})
        return "admin" in identity.roles

    def judge(self, rule: str, identity: Identity) -> bool:
        raise AssertionError(rule, identity)


def token(user: str, *roles: str, expires: datetime = LATER, **more: Any) -> Token:
    return Token(user, "d", expires, "p", "d", roles=frozenset(roles), **more)


KNOWN = {
    "member": token("m", "member", "reader"),
    "admin": token("a", "admin"),
    "ended": token("m", "member", expires=EARLIER),
    "service": token("s", "service"),
    "ended service": token("s", "service", expires=EARLIER),
    "limited": token("m", "member", access_rules=(AccessRule("image", "GET", "/v2/images/*"),)),
    "limited elsewhere": token("m", access_rules=(AccessRule("compute", "GET", "/v2/images/*"),)),
}


async def identify(
    shown: str | None,
    service: str | None = None,
    settings: KeystoneSettings = SETTINGS,
    **more: str,
) -> Identity:
    async def ask(token: str, *, allow_expired: bool) -> Token | None:
        known = KNOWN.get(token)
        return known if known is not None and (allow_expired or known.left() > 0) else None

    callers = Callers(settings, Tokens(ask, 300, 30), Rules())
    asked = {"method": "GET", "path": "/v2/images/x", **more}
    return await callers.identify(Credentials(shown, service, **asked))


async def test_a_user() -> None:
    known = await identify("member")
    assert (known.user_id, known.project_id, known.is_admin) == ("m", "p", False)
    assert known.roles == {"member", "reader"}
    assert (known.service_roles, known.service_user_id) == (frozenset(), None)


async def test_an_administrator_is_whom_the_rules_call_so() -> None:
    assert (await identify("admin")).is_admin


@pytest.mark.parametrize("shown", [None, "", "unknown", "ended"])
@pytest.mark.parametrize("service", [None, "unknown", "ended service"])
async def test_who_is_not_known_is_told_where_tokens_come_from(
    shown: str | None, service: str | None
) -> None:
    with pytest.raises(UnauthenticatedError) as told:
        await identify(shown, service)
    assert told.value.challenge == 'Keystone uri="http://public/v3"'
    assert "ended" not in str(told.value)


async def test_a_service_may_go_on_with_a_token_that_has_ended() -> None:
    known = await identify("ended", "service")
    assert (known.user_id, known.service_user_id) == ("m", "s")
    assert known.service_roles == {"service"}


async def test_a_service_alone_is_nobody() -> None:
    with pytest.raises(UnauthenticatedError):
        await identify(None, "service")


async def test_a_users_token_is_none_of_a_service() -> None:
    assert (await identify("member", "admin")).service_roles == frozenset()
    with pytest.raises(UnauthenticatedError):
        await identify("ended", "member")


async def test_unless_the_operator_takes_any() -> None:
    settings = replace(SETTINGS, service_roles_required=False)
    assert (await identify("member", "admin", settings)).service_roles == {"admin"}
    with pytest.raises(UnauthenticatedError):  # for this the role is needed in any case
        await identify("ended", "admin", settings)


async def test_an_application_credential_is_held_to_its_rules() -> None:
    assert (await identify("limited")).user_id == "m"
    with pytest.raises(UnauthenticatedError):
        await identify("limited", method="DELETE")
    with pytest.raises(UnauthenticatedError):
        await identify("limited", path="/v2/images")
    with pytest.raises(UnauthenticatedError):
        await identify("limited elsewhere")
    with pytest.raises(UnauthenticatedError):
        await identify("limited", settings=replace(SETTINGS, service_type=None))
    assert (await identify("limited", "service", method="DELETE")).user_id == "m"
    with pytest.raises(UnauthenticatedError):  # not by any token in a service's place
        await identify("limited", "unknown", method="DELETE")


@pytest.mark.parametrize("service", [None, *KNOWN, "unknown"])
@pytest.mark.parametrize("shown", [None, *KNOWN, "unknown"])
async def test_who_is_recognised_is_whom_keystone_would_tell(
    shown: str | None, service: str | None
) -> None:
    async def ask(token: str, *, allow_expired: bool) -> Token | None:
        known = KNOWN.get(token)
        return known if known is not None and (allow_expired or known.left() > 0) else None

    callers = Callers(SETTINGS, Tokens(ask, 300, 30), Rules())
    credentials = Credentials(shown, service, "GET", "/v2/images/x")
    assert callers.recognise(credentials) is None  # nobody has been asked
    try:
        identity = await callers.identify(credentials)
    except UnauthenticatedError:
        assert callers.recognise(credentials) is None
    else:
        ordinary = shown in {"member", "admin", "service"} and service in {None, "service"}
        assert callers.recognise(credentials) == (identity if ordinary else None)


def test_nothing_shows_a_token() -> None:
    assert "sesame" not in repr(Credentials("sesame", "sesame", "GET", "/"))
