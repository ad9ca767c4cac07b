"""Which web addresses may be read for callers: Glance's decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from registry.domain.errors import InvalidRequestError
from registry.fetching.filtering import UriFilter
from registry.fetching.options import FilterSettings

NAMES = {
    "images.example": ["203.0.113.7", "2001:db8::7"],
    "inside.example": ["10.0.0.7"],
    "here.example": ["127.0.0.1"],
    "both.example": ["127.0.0.1", "203.0.113.8"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "wrapped.example": ["0.0.0.0", "64:ff9b::7f00:1", "2002:7f00:1::1", "ff02::1"],
    "metadata.example": ["169.254.169.254"],
}
ANY = FilterSettings(allowed_ports=())


async def resolve(host: str, _port: int, names: Mapping[str, Sequence[str]] = NAMES) -> list[str]:
    try:
        return list(names[host])
    except KeyError:
        raise OSError("no such name") from None


@pytest.mark.parametrize(
    ("settings", "uri", "found"),
    [
        (FilterSettings(), "http://images.example/x", ("203.0.113.7", "2001:db8::7")),
        (FilterSettings(), "https://IMAGES.example:443/x", ("203.0.113.7", "2001:db8::7")),
        (FilterSettings(), "http://203.0.113.7/", ("203.0.113.7",)),
        (FilterSettings(), "http://[2001:db8::0:7]/", ("2001:db8::7",)),
        (FilterSettings(), "http://inside.example/", ("10.0.0.7",)),
        (FilterSettings(), "http://[64:ff9b::203.0.113.7]/", ("64:ff9b::cb00:7107",)),
        (FilterSettings(), "http://203。0。113。7/", ("203.0.113.7",)),
        (ANY, "http://images.example:8080/", ("203.0.113.7", "2001:db8::7")),
        (FilterSettings(), "http://both.example/", ("203.0.113.8",)),
        (FilterSettings(allowed_hosts=("here.example",)), "http://here.example/", ("127.0.0.1",)),
        (
            FilterSettings(allowed_hosts=("127.0.0.1",), disallowed_hosts=("127.0.0.1",)),
            "http://127.0.0.1/",
            ("127.0.0.1",),
        ),
        (
            FilterSettings(disallowed_hosts=("203.0.113.7",)),
            "http://images.example/",
            ("2001:db8::7",),
        ),
        (FilterSettings(allowed_schemes=()), "ftp://images.example/", None),
    ],
)
async def test_what_may_be_read(
    settings: FilterSettings, uri: str, found: tuple[str, ...] | None
) -> None:
    addresses = await UriFilter(settings, resolve).addresses(uri)
    assert found is None or addresses == found


@pytest.mark.parametrize(
    ("settings", "uri"),
    [
        (FilterSettings(), "ftp://images.example/x"),
        (FilterSettings(), "images.example/x"),
        (FilterSettings(), "http:///x"),
        (FilterSettings(), "http://images.example:8080/x"),
        (FilterSettings(), "http://images.example:70000/x"),
        (FilterSettings(), "http://[::1/x"),
        (FilterSettings(), "http://unknown.example/x"),
        (FilterSettings(), "http://127.0.0.1/x"),
        (FilterSettings(), "http://[::1]/x"),
        (FilterSettings(), "http://[::ffff:127.0.0.1]/x"),
        (FilterSettings(), "http://2130706433/x"),
        (FilterSettings(), "http://127。0。0。1/x"),
        (FilterSettings(), "http://\uff11\uff12\uff17.0.0.1/x"),
        (FilterSettings(), "http://0.0.0.0/x"),
        (FilterSettings(), "http://[::]/x"),
        (FilterSettings(), "http://[::ffff:0.0.0.0]/x"),
        (FilterSettings(), "http://[::127.0.0.1]/x"),
        (FilterSettings(), "http://[64:ff9b::7f00:1]/x"),
        (FilterSettings(), "http://[64:ff9b::169.254.169.254]/x"),
        (FilterSettings(), "http://[64:ff9b:1::7f00:1]/x"),
        (FilterSettings(), "http://[2002:7f00:1::]/x"),
        (FilterSettings(), "http://[2002:a9fe:a9fe::1]/x"),
        (FilterSettings(), "http://224.0.0.1/x"),
        (FilterSettings(), "http://[ff02::1]/x"),
        (FilterSettings(), "http://[fe80::1%25eth0]/x"),
        (FilterSettings(), "http://[2001:db8::7%25eth0]/x"),
        (FilterSettings(), "http://wrapped.example/x"),
        (FilterSettings(), "http://images.example:0/x"),
        (FilterSettings(disallowed_hosts=("10.0.0.7",)), "http://[::ffff:10.0.0.7]/x"),
        (FilterSettings(), "http://127.1/x"),
        (FilterSettings(), "http://here.example/x"),
        (FilterSettings(), "http://mapped.example/x"),
        (FilterSettings(), "http://metadata.example/x"),
        (FilterSettings(allowed_hosts=("other.example",)), "http://images.example/x"),
        (FilterSettings(allowed_schemes=(), disallowed_schemes=("ftp",)), "ftp://images.example/"),
        (FilterSettings(disallowed_hosts=("images.example",)), "http://images.example/x"),
        (FilterSettings(disallowed_hosts=("10.0.0.7",)), "http://inside.example/x"),
        (FilterSettings(allowed_ports=(), disallowed_ports=(8080,)), "http://images.example:8080/"),
    ],
)
async def test_what_may_not_be_read(settings: FilterSettings, uri: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await UriFilter(settings, resolve).addresses(uri)
    assert uri not in str(refused.value)


@pytest.mark.parametrize("host", ["0x7f000001", "0177.0.0.1", "127.0x0.0.1"])
async def test_other_notations_of_an_address_are_names_that_nobody_has(host: str) -> None:
    with pytest.raises(InvalidRequestError):
        await UriFilter(ANY).addresses(f"http://{host}/x")


async def test_a_name_inside_and_one_that_is_not_there_are_refused_alike() -> None:
    words = set()
    for host in ("here.example", "unknown.example"):
        with pytest.raises(InvalidRequestError) as refused:
            await UriFilter(ANY, resolve).addresses(f"http://{host}/x")
        words.add(str(refused.value).replace(host, "HOST"))
    assert len(words) == 1
