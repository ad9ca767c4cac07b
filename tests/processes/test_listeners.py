"""Binding: IPv4, IPv6, names, and what is said where it cannot be."""

from __future__ import annotations

import socket

import pytest

from cacheproxy.config import MetricsSettings, Settings, UpstreamSettings
from cacheproxy.errors import ConfigError
from cacheproxy.processes import listeners

UPSTREAM = UpstreamSettings("http://glance.example:9292")


def settings(host: str, port: int = 0, metrics: MetricsSettings | None = None) -> Settings:
    return Settings(UPSTREAM, host=host, port=port, metrics=metrics or MetricsSettings(port=0))


def reachable(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 5).close()
    except OSError:
        return False
    return True


def ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("host", "url", "reached_at"),
    [
        ("127.0.0.1", "http://127.0.0.1:", ["127.0.0.1"]),
        ("0.0.0.0", "http://0.0.0.0:", ["127.0.0.1"]),
        pytest.param("::1", "http://[::1]:", ["::1"], marks=needs_ipv6),
        pytest.param("::", "http://[::]:", ["::1", "127.0.0.1"], marks=needs_ipv6),
    ],
)
def test_addresses(host: str, url: str, reached_at: list[str]) -> None:
    bound = listeners.listen(settings(host), [])
    assert [listener.kind for listener in bound] == ["api", "metrics"]
    assert bound[0].url.startswith(url)
    assert not bound[0].sock.getblocking()
    port = bound[0].sock.getsockname()[1]
    assert all(reachable((address, port)) for address in reached_at)
    for listener in bound:
        listener.sock.close()
    assert not any(reachable((address, port)) for address in reached_at)


def test_a_name_is_bound_at_all_its_addresses_with_one_port() -> None:
    bound = listeners.listen(settings("localhost"), [])
    ports = {(listener.kind, listener.sock.getsockname()[1]) for listener in bound}
    assert sorted(kind for kind, _ in ports) == ["api", "metrics"]
    assert all(reachable(("localhost", port)) for _, port in ports)
    for listener in bound:
        listener.sock.close()


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("192.0.2.1", "is not an address of this machine"),
        ("2001:db8::1", ""),  # what it says depends on whether there is IPv6 at all
        ("nobody.invalid", "the name does not resolve"),
    ],
)
def test_addresses_of_others_are_refused(host: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        listeners.listen(settings(host), [])
    assert str(caught.value).startswith(f"[DEFAULT] bind_host = {host}, bind_port = 0: {says}")


def test_an_address_in_use_is_refused_and_nothing_stays_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            listeners.listen(settings("127.0.0.1", port), [])
        assert str(caught.value) == (
            f"[DEFAULT] bind_host = 127.0.0.1, bind_port = {port}: is in use; "
            "stop the other program (`ss -ltnp` names it) or choose another"
        )
        with pytest.raises(ConfigError, match=r"^\[metrics\] bind_host = 127.0.0.1, bind_port"):
            listeners.listen(settings("127.0.0.1", 0, MetricsSettings("127.0.0.1", port)), [])
