"""With whose credentials a fill asks."""

from __future__ import annotations

from cacheproxy.fill import demand as module
from cacheproxy.fill.demand import Credential, Credentials, Demand


def by(name: str, image: str = "i") -> Credential:
    return Credential(image, (("X-Auth-Token", name),))


def wish(credential: Credential) -> Demand:
    return Demand(0, 1, must_prove=False, credential=credential)


def test_present_readers_come_first_and_the_latest_of_each() -> None:
    credentials = Credentials()
    for name in "abc":
        credentials.add(by(name))
    assert credentials.choose([wish(by("a")), wish(by("b"))]) == by("b")
    assert credentials.choose([]) == by("c")
    credentials.refuse(by("b"))
    assert credentials.choose([wish(by("a")), wish(by("b"))]) == by("a")
    credentials.refuse(by("a"))
    assert credentials.choose([wish(by("a")), wish(by("b"))]) == by("c")
    credentials.refuse(by("c"))
    assert credentials.choose([]) is None


def test_an_image_that_sent_wrong_bytes_comes_last_but_comes() -> None:
    credentials = Credentials()
    credentials.add(by("a", "rotten"))
    credentials.add(by("b", "sound"))
    credentials.suspect("rotten")
    assert credentials.choose([wish(by("a", "rotten"))]) == by("b", "sound")
    credentials.refuse(by("b", "sound"))
    assert credentials.choose([]) == by("a", "rotten")


def test_few_are_kept_and_none_is_shown() -> None:
    credentials = Credentials()
    for number in range(module.CREDENTIALS_MAX + 5):
        credentials.add(by(str(number)))
    assert repr(credentials) == f"<Credentials {module.CREDENTIALS_MAX}, 0 refused>"
    assert "t0k3n" not in repr(by("t0k3n"))
    credentials.clear()
    assert credentials.choose([]) is None
