"""What happens when nobody answers, or nonsense; and where a token comes from."""

from __future__ import annotations

import json
import socket
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cacheproxy.admin import wire
from cacheproxy.cli import client
from cacheproxy.cli.prefetch import read_token
from cacheproxy.cli.program import main
from cacheproxy.errors import ConfigError

RESULT = b'{"event": "result", "result": {"image": "i", "pinned": true, "changed": true}}\n'


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """Answer one client with these bytes; gives what it asked."""
    asked: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            asked.append(lines.readline())
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(30)


def test_an_answer_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s"
    before = b'{"event": "alive"}\n'
    with answering(path, before + RESULT) as asked:
        assert main(["pin", "--socket", str(path), "i"]) == 0
    assert json.loads(asked[0]) == {"version": 1, "request": {"command": "pin", "image": "i"}}
    assert capsys.readouterr().out == "i: now pinned\n"


def test_json_is_printed_as_it_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s"
    with answering(path, RESULT):
        assert main(["unpin", "--json", "--socket", str(path), "i"]) == 0
    assert json.loads(capsys.readouterr().out) == {"image": "i", "pinned": True, "changed": True}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b'{"event": "error", "code": "refused", "message": "no room"}\n', 1, "no room"),
        (b"", 3, "ended before it answered"),
        (RESULT[:20], 3, "ended before it answered"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 1, "not an answer"),
        (b'{"event": "unheard of"}\n', 1, "not an answer"),
    ],
)
def test_an_answer_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes, code: int, said: str
) -> None:
    path = tmp_path / "s"
    with answering(path, answer):
        assert main(["pin", "--socket", str(path), "i"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_a_line_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "EVENT_BYTES_MAX", 1000)
    path = tmp_path / "s"
    with answering(path, b"x" * 5000):
        assert main(["status", "--socket", str(path)]) == 1


def test_a_daemon_that_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SILENCE_SECONDS_MAX", 0.01)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert main(["status", "--socket", str(path)]) == 3
    assert "says nothing" in capsys.readouterr().err


def test_nobody_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s"
    assert main(["status", "--socket", str(path)]) == 3
    assert "systemctl status cacheproxy" in capsys.readouterr().err
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    assert main(["status", "--socket", str(path), "--json"]) == 3
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"]["code"] == "unreachable"


def test_the_configuration_tells_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.conf"
    upstream = "[upstream]\nurl = http://glance.example\n"
    file.write_text(f"{upstream}[cache]\ndirectory = {tmp_path}\n")
    assert client.socket_path(Namespace(socket=None, config_file=[file])) == tmp_path / "admin.sock"
    file.write_text(f"[DEFAULT]\nadmin_socket = /run/x.sock\n{upstream}")
    assert client.socket_path(Namespace(socket=None, config_file=[file])) == Path("/run/x.sock")
    file.write_text(f"{upstream}[cache]\nenabled = false\n")
    assert main(["status", "--config-file", str(file)]) == 3
    assert "there is no cache to ask about" in capsys.readouterr().err
    assert main(["status", "--config-file", "/nowhere/c.conf"]) == 1
    assert "give the daemon's file with --config-file" in capsys.readouterr().err


def test_a_token_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    monkeypatch.delenv("OS_TOKEN", raising=False)
    assert read_token(Namespace(os_token_file=None)) is None
    monkeypatch.setenv("OS_TOKEN", " from-env\n")
    assert read_token(Namespace(os_token_file=None)) == "from-env"
    file.write_text("from-file\n")
    assert read_token(Namespace(os_token_file=file)) == "from-file"


@pytest.mark.parametrize("content", [b"s3cret two", b"s3cret\r\nX-Evil: 1", b"s3cret\xff", None])
def test_a_token_that_is_none_is_not_repeated(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_token(Namespace(os_token_file=file))
    assert "s3cret" not in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repair"], "--repair goes with --offline"),
        (["--offline", "image"], "name no image"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *arguments]) == 1
    assert said in capsys.readouterr().err
