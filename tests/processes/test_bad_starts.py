"""What cannot start says why in one line, exits with 1, and leaves nothing behind."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.program import REPOSITORY, free_port

UPSTREAM = "http://127.0.0.1:1"  # nobody there: only a warning


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cacheproxy", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


Refusal = Callable[..., str]


@pytest.fixture
def refusal(tmp_path: Path) -> Refusal:
    """Start with these options, beside ones that would do; return what is said instead."""

    def begin(
        *,
        default: str = "",
        upstream: str = f"url = {UPSTREAM}",
        cache: str = "",
        metrics: str = "",
    ) -> str:
        file = tmp_path / "cacheproxy.conf"
        file.write_text(
            f"[DEFAULT]\nbind_port = 0\n{default}\n"
            f"[upstream]\n{upstream}\n"
            f"[cache]\ndirectory = {tmp_path}/cache\n{cache}\n"
            f"[metrics]\nbind_port = 0\n{metrics}\n"
        )
        done = run("serve", "--config-file", file)
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        said = re.fullmatch(r"[\d-]{10} [\d:,]{12} cacheproxy: error: (.*)", line)
        assert said, line
        return said[1].removeprefix(f"{file}: ")

    return begin


def test_bad_options(refusal: Refusal) -> None:
    assert refusal(default="wrokers = 1").startswith(
        "unknown option 'wrokers' in [DEFAULT]; did you mean workers?"
    )
    assert refusal(cache="image_cache_size = lots").startswith(
        "[cache] image_cache_size = 'lots' is not accepted; expected bytes"
    )
    assert refusal(upstream="").startswith("[upstream] url is not set")


def test_a_directory_that_cannot_be_had(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(cache=f"directory = {tmp_path}/file/cache") == (
        f"[cache] directory = {tmp_path}/file/cache: cannot be created: Not a directory; "
        "create it, or set another one"
    )


def test_an_address_in_use_and_one_of_others(refusal: Refusal) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = other.getsockname()[1]
        assert refusal(default=f"bind_port = {port}").startswith(
            f"[DEFAULT] bind_host = 127.0.0.1, bind_port = {port}: is in use; "
        )
        assert refusal(metrics=f"bind_port = {port}").startswith(
            f"[metrics] bind_host = 127.0.0.1, bind_port = {port}: is in use; "
        )
    assert refusal(default="bind_host = 192.0.2.1") == (
        "[DEFAULT] bind_host = 192.0.2.1, bind_port = 0: is not an address of this machine"
    )


def test_without_or_with_an_absent_file() -> None:
    done = run("serve", "--config-file", "/nowhere/cacheproxy.conf")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "error: /nowhere/cacheproxy.conf: cannot be read: No such file or directory\n"
    )


def test_the_command_line_teaches() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in (
        "serve",
        "--config-file",
        "endpoint_override",
        "curl",
        "docs/cacheproxy.conf.sample",
    ):
        assert word in done.stdout
    done = run("serve", "--help")
    assert "--config-file" in done.stdout
    assert run("--version").stdout.startswith("cacheproxy ")
    done = run()
    assert done.returncode == 2
    assert "COMMAND" in done.stderr
    done = run("server")
    assert done.returncode == 2
    assert "serve" in done.stderr
