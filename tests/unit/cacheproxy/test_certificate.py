"""Which PEM files are taken, what is said of the others, and that no key shows."""

from __future__ import annotations

import logging
import ssl
import subprocess
from pathlib import Path

import pytest

from cacheproxy.certificate import PEM_BYTES_MAX, Certificate, Shown
from cacheproxy.config import Settings, UpstreamSettings
from cacheproxy.errors import ConfigError
from cacheproxy.processes.orders import Certify
from harness.authority import Authority

UPSTREAM = UpstreamSettings("http://glance.example")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def private(path: Path) -> Path:
    path.chmod(0o640)
    return path


def test_a_certificate_with_its_key_is_taken(authority: Authority) -> None:
    chain, key = authority.files()
    made = Certificate.read(chain, private(key), authority.cafile)
    assert made.context().verify_mode == ssl.CERT_REQUIRED
    together = private(authority.together())
    assert Certificate.read(together, None, None).context().verify_mode == ssl.CERT_NONE


def test_no_key_shows(authority: Authority) -> None:
    made = Certificate.read(private(authority.together()), None, None)
    assert "PRIVATE" in made.key.decode()
    assert "PRIVATE" not in f"{made!r} {Certify(made.chain, made.key, b'')!r}"


@pytest.mark.parametrize("mode", [0o644, 0o602, 0o601])
def test_a_key_that_others_may_use_is_refused(authority: Authority, mode: int) -> None:
    chain, key = authority.files()
    key.chmod(mode)
    with pytest.raises(ConfigError, match=r"key_file = .*: everybody here may use this key"):
        Certificate.read(chain, key, None)
    together = authority.together()
    together.chmod(mode)
    with pytest.raises(ConfigError, match=r"cert_file = .*: everybody here may use this key"):
        Certificate.read(together, None, None)


def test_files_that_do_not_fit_are_refused(authority: Authority, tmp_path: Path) -> None:
    chain, key = authority.files()
    _, other = authority.files("other")
    for wrong in (other, chain):
        with pytest.raises(ConfigError, match="cert_file and key_file: expected a certificate"):
            Certificate.read(chain, private(wrong), None)
    private(key)
    with pytest.raises(ConfigError, match="ca_file: no certificates in PEM"):
        Certificate(chain.read_bytes(), key.read_bytes(), b"nothing").context()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Certificate.read(chain, tmp_path / "missing", None)
    big = tmp_path / "big"
    big.write_bytes(chain.read_bytes() + b"\n" * PEM_BYTES_MAX)
    with pytest.raises(ConfigError, match="have more than"):
        Certificate.read(big, key, None)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(
    authority: Authority, tmp_path: Path
) -> None:
    chain, key = authority.files()
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-aes128", "-passout", "pass:x", "-in", key, "-out", locked],
        check=True,
        capture_output=True,
    )
    with pytest.raises(ConfigError, match="key without a password"):
        Certificate.read(chain, private(locked), None)


def test_a_new_one_is_taken_and_a_bad_one_changes_nothing(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    file = private(authority.together())
    shown = Shown(Settings(UPSTREAM, cert_file=file))
    first = shown.current
    assert shown.renew() is None
    private(authority.together())
    second = shown.renew()
    assert second is shown.current is not first
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    with caplog.at_level(logging.ERROR):
        assert shown.renew() is None
    assert "the certificate is not changed: [DEFAULT] cert_file" in caplog.text
    assert shown.current is second
    assert Shown(Settings(UPSTREAM)).current is None
