"""Database URLs, as operators have them in their files."""

from __future__ import annotations

import importlib.util
import logging
import ssl
from pathlib import Path

import pytest

from harness.authority import Authority
from registry.db.target import read_target
from registry.errors import ConfigError


@pytest.mark.parametrize(
    ("connection", "url"),
    [
        ("sqlite:////var/x.sqlite", "sqlite+aiosqlite:////var/x.sqlite"),
        ("mysql+pymysql://u:p@h/d?charset=utf8", "mysql+asyncmy://u:p@h/d"),
        ("mysql://u:p%40@h:1/d", "mysql+asyncmy://u:p%40@h:1/d"),
        ("mariadb://u@h/d?unix_socket=/run/x", "mysql+asyncmy://u@h/d?unix_socket=%2Frun%2Fx"),
        ("postgresql://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgres://u:p@h/d?client_encoding=utf8", "postgresql+asyncpg://u:p@h/d"),
        (
            "postgresql+psycopg2://u:p@/d?host=a:1&host=b:2&target_session_attrs=read-write",
            "postgresql+asyncpg://u:p@/d?host=a%3A1&host=b%3A2&target_session_attrs=read-write",
        ),
    ],
)
def test_the_driver_is_ours(connection: str, url: str) -> None:
    assert read_target(connection).url.render_as_string(hide_password=False) == url


def test_parameters_of_other_drivers_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        read_target("mysql+pymysql://u:secret@h/d?charset=utf8&binary_prefix=1&connect_timeout=3")
    assert "binary_prefix" in caplog.text
    assert "charset=utf8" in caplog.text
    assert "secret" not in caplog.text
    assert "connect_timeout" not in caplog.text


def test_no_password_is_shown() -> None:
    assert "secret" not in repr(read_target("mysql://u:secret@h/d"))
    with pytest.raises(ConfigError) as caught:
        read_target("mysql://u:secret@h:port/d")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("connection", "verify_mode", "verify_name"),
    [
        ("mysql://h/d?ssl_ca={ca}", ssl.CERT_REQUIRED, False),
        ("mysql://h/d?ssl_ca={ca}&ssl_check_hostname=true", ssl.CERT_REQUIRED, True),
        ("mysql://h/d?ssl_ca={ca}&ssl_mode=VERIFY_IDENTITY", ssl.CERT_REQUIRED, True),
        ("mysql://h/d?ssl_ca={ca}&ssl_verify_cert=false", ssl.CERT_NONE, False),
        ("mysql://h/d?ssl=true", ssl.CERT_NONE, False),
        ("postgresql://h/d?sslmode=verify-full&sslrootcert={ca}", ssl.CERT_REQUIRED, True),
        ("postgresql://h/d?sslmode=verify-ca&sslrootcert={ca}", ssl.CERT_REQUIRED, False),
        ("postgresql://h/d?sslmode=require&sslrootcert={ca}", ssl.CERT_REQUIRED, False),
        ("postgresql://h/d?sslmode=require", ssl.CERT_NONE, False),
    ],
)
def test_tls_as_told(
    connection: str, verify_mode: ssl.VerifyMode, verify_name: bool, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    context = read_target(connection.format(ca=authority.cafile)).arguments["ssl"]
    assert (context.verify_mode, context.check_hostname) == (verify_mode, verify_name)


@pytest.mark.parametrize(
    "connection", ["mysql://h/d", "mysql://h/d?ssl_ca=/x&ssl_disabled=1", "postgresql://h/d"]
)
def test_no_tls_of_ours(connection: str) -> None:
    assert "ssl" not in read_target(connection).arguments


@pytest.mark.parametrize(
    ("connection", "complaint"),
    [
        ("mysql://h/d?ssl_ca=/nowhere", "/nowhere"),
        ("postgresql://h/d?sslmode=perhaps", "perhaps"),
        ("postgresql://h/d?connect_timeout=soon", "soon"),
        ("oracle://h/d", "oracle"),
    ],
)
def test_mistakes_are_told(connection: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_target(connection)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'cacheproxy\[postgresql\]'"):
        read_target("postgresql://h/d")
