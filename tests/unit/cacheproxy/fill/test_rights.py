"""With whose right a fill asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from cacheproxy.errors import AccountError, RightLostError, UpstreamAnswerError
from cacheproxy.fill import rights as module
from cacheproxy.fill.demand import Credential, Demand
from cacheproxy.fill.rights import TOKENS_MAX, Rights
from cacheproxy.fill.source import Headers


class AccountFake:
    """An account whose tokens are told."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.told: list[Headers] = []
        self.before_answer: Callable[[], object] = lambda: None

    @property
    def configured(self) -> bool:
        return bool(self.tokens) or bool(self.told)

    async def headers(self) -> Sequence[tuple[str, str]]:
        self.before_answer()
        if not self.tokens:
            raise AccountError("Keystone does not answer")
        return [("X-Auth-Token", self.tokens[0])]

    def refused(self, headers: Headers) -> None:
        self.told.append(headers)
        del self.tokens[0]


def by(name: str, image: str = "i") -> Credential:
    return Credential(image, (("X-Auth-Token", name),))


def own(name: str, image: str = "i") -> Credential:
    return Credential(image, (("X-Auth-Token", name),), own=True)


def answer(status: int) -> UpstreamAnswerError:
    return UpstreamAnswerError(status, "refused")


def wish(credential: Credential) -> Demand:
    return Demand(0, 1, must_prove=False, credential=credential)


async def test_present_readers_come_first_and_the_latest_of_each() -> None:
    rights = Rights(AccountFake())
    for name in "abc":
        rights.add(by(name))
    assert await rights.choose([wish(by("a")), wish(by("b"))]) == by("b")
    assert await rights.choose([]) == by("c")
    rights.refuse(by("b"), answer(401))
    assert await rights.choose([wish(by("a")), wish(by("b"))]) == by("a")
    rights.refuse(by("a"), answer(403))
    assert await rights.choose([wish(by("a")), wish(by("b"))]) == by("c")
    rights.refuse(by("c"), answer(404))
    assert not rights.left([wish(by("a")), wish(by("b"))])
    with pytest.raises(RightLostError):
        await rights.choose([])


async def test_an_image_that_sent_wrong_bytes_comes_last_but_comes() -> None:
    rights = Rights(AccountFake())
    rights.add(by("a", "rotten"))
    rights.add(by("b", "sound"))
    rights.suspect("rotten")
    assert await rights.choose([wish(by("a", "rotten"))]) == by("b", "sound")
    rights.refuse(by("b", "sound"), answer(401))
    assert await rights.choose([]) == by("a", "rotten")


async def test_few_are_kept_and_none_is_shown() -> None:
    rights = Rights(AccountFake())
    for number in range(module.CREDENTIALS_MAX + 5):
        rights.add(by(str(number), f"image {number}"))
    assert repr(rights) == f"<Rights {module.CREDENTIALS_MAX} kept, 0 refused>"
    assert "t0k3n" not in repr(by("t0k3n"))
    for number in range(1000):
        rights.refuse(by(str(number), f"image {number}"), answer(401))
    assert not rights.left([])
    assert repr(rights) == "<Rights 0 kept, 0 refused>"  # nor does what was refused pile up
    rights.clear()


async def test_who_was_refused_and_waits_does_not_come_back_by_asking_again() -> None:
    rights, waits = Rights(AccountFake()), wish(by("a"))
    rights.add(by("a"))
    rights.refuse(by("a"), answer(401))
    assert not rights.left([waits])
    rights.add(by("a"))
    assert not rights.left([waits, wish(by("a"))])


async def test_the_proxys_own_account_comes_last_and_for_images_of_readers_only() -> None:
    rights = Rights(AccountFake("own"))
    assert not rights.left([])  # nobody has asked for anything
    rights.add(by("a", "first"))
    rights.add(by("b", "second"))
    rights.refuse(by("b", "second"), answer(401))
    assert await rights.choose([]) == by("a", "first")
    rights.refuse(by("a", "first"), answer(401))
    assert await rights.choose([]) == own("own", "second")
    rights.suspect("second")
    assert await rights.choose([]) == own("own", "first")
    rights.refuse(own("own", "first"), answer(404))
    assert await rights.choose([]) == own("own", "second")
    rights.refuse(own("own", "second"), answer(403))
    assert not rights.left([])
    rights.add(by("c", "second"))
    assert await rights.choose([]) == by("c", "second")


async def test_a_token_of_the_account_that_is_refused_is_replaced_but_not_for_ever() -> None:
    account = AccountFake("stale", "fresh", "more")
    rights = Rights(account)
    rights.add(by("a"))
    rights.refuse(by("a"), answer(401))
    rights.refuse(await rights.choose([]), answer(401))
    assert account.told == [(("X-Auth-Token", "stale"),)]
    fresh = await rights.choose([])
    assert fresh == own("fresh")
    rights.accept(fresh)  # so a later refusal is the first one again
    for _ in range(TOKENS_MAX):
        assert rights.left([])
        rights.refuse(await rights.choose([]), answer(401))
    assert not rights.left([])


async def test_who_comes_while_the_account_logs_in_is_heard() -> None:
    account = AccountFake("own")
    rights = Rights(account)
    rights.add(by("a"))
    rights.refuse(by("a"), answer(401))
    present: list[Demand] = []
    account.before_answer = lambda: present.append(wish(by("b")))
    assert await rights.choose(present) == by("b")
    account.tokens.clear()
    account.told.append(())
    assert await rights.choose(present) == by("b")  # nor does it matter that it cannot
    account.before_answer = lambda: None
    with pytest.raises(RightLostError, match="Keystone does not answer"):
        await rights.choose([])


async def test_the_accounts_own_wish_is_asked_for_with_its_token_of_now() -> None:
    account = AccountFake("stale", "fresh")
    rights = Rights(account)
    rights.add(own("stale"))
    present = [wish(own("stale"))]
    assert await rights.choose(present) == own("stale")
    rights.refuse(own("stale"), answer(401))
    assert await rights.choose(present) == own("fresh")
    rights.refuse(own("fresh"), answer(403))
    assert not rights.left(present)
