"""What the catalog logs, and where: each line names the request that it belongs to."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.catalog import CONFIGURATION, running_catalog
from harness.http import ask
from harness.images import run
from harness.program import REPOSITORY, free_port
from harness.waiting import until
from registry.errors import ConfigError
from registry.logs import LogSettings, _told_in_a_line, load_logs

LINE = re.compile(r"[\d-]+ [\d:,]+ (\w+) ([\w.]+) \[(\S+)\] (.*)")


def deleted(url: str, request_id: str) -> str:
    """Make and delete an image; return its id."""
    image = ask("POST", f"{url}/v2/images", document={}).expect(201).json()["id"]
    headers = {"X-OpenStack-Request-ID": request_id}
    ask("DELETE", f"{url}/v2/images/{image}", headers=headers).expect(204)
    return str(image)


def test_every_line_of_a_request_names_it(tmp_path: Path) -> None:
    with running_catalog(tmp_path) as catalog:
        image = deleted(catalog.url, "req-mine")
    lines = [LINE.fullmatch(line) for line in catalog.program.log.read_text().splitlines()]
    assert all(lines), catalog.program.tail()
    said = [line.groups() for line in lines if line]
    mine = [(who, what) for _, who, request, what in said if request == "req-mine"]
    assert mine[0] == ("registry.service.images", f"deleted image {image}")
    assert mine[1][0] == "aiohttp.access"
    answer = rf'127\.0\.0\.1 "DELETE /v2/images/{image} HTTP/1\.1" 204 \d+ \d\.\d{{6}} ".+"'
    assert re.fullmatch(answer, mine[1][1]), mine[1][1]
    assert len(mine) == 2
    assert any(who == "registry.app" and request == "-" for _, who, request, _ in said)


def test_a_connection_that_is_lost_is_told_in_a_line() -> None:
    lost = ConnectionError("lost")
    name, what = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool", "Exception during %s"
    told = (type(lost), lost, None)
    record = logging.LogRecord(name, logging.ERROR, "", 0, what, ("reset",), told)
    handler = logging.NullHandler()
    handler.addFilter(_told_in_a_line)
    assert handler.filter(record)
    assert logging.Formatter().format(record) == "Exception during reset: lost"


def test_a_file_that_is_rotated(tmp_path: Path) -> None:
    more = f"[DEFAULT]\ndebug = true\nlog_dir = {tmp_path}/logs\n"
    (tmp_path / "logs").mkdir()
    file = tmp_path / "logs/cacheproxy-registry.log"
    with running_catalog(tmp_path, more) as catalog:
        deleted(catalog.url, "req-first")
        until("its lines", lambda: file.read_text().count("[req-first]") == 2)
        file.rename(tmp_path / "logs/old.log")
        deleted(catalog.url, "req-second")
        until("a new file", lambda: file.exists() and file.read_text().count("[req-second]") == 2)
        assert catalog.program.log.read_text() == ""
    assert file.read_text().endswith("stopped\n"), "the last lines of a service are written too"


def test_a_file_that_cannot_be(tmp_path: Path) -> None:
    configuration = tmp_path / "registry.conf"
    configuration.write_text(
        CONFIGURATION.format(port=free_port(), directory=tmp_path)
        + f"[DEFAULT]\nlog_file = {tmp_path}/none/x.log\n"
    )
    command = [sys.executable, "-m", "registry", "--config-file", str(configuration)]
    run("env", f"PYTHONPATH={REPOSITORY}", *command, "db", "sync")  # says it on the terminal
    done = subprocess.run(
        [*command, "serve"], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "log_file: cannot write to" in done.stderr


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", LogSettings()),
        ("debug = True\nlog_file = /x/y.log", LogSettings(debug=True, file=Path("/x/y.log"))),
        ("log_dir = /x\nlogfile = y.log", LogSettings(file=Path("/x/y.log"))),
        ("log_dir = /x", LogSettings(file=Path("/x/cacheproxy-registry.log"))),
        ("use_syslog = true", LogSettings()),
    ],
)
def test_options(tmp_path: Path, text: str, settings: LogSettings) -> None:
    file = tmp_path / "glance-api.conf"
    file.write_text(f"[DEFAULT]\n{text}\n")
    assert load_logs([file]) == settings


def test_a_wrong_option(tmp_path: Path) -> None:
    file = tmp_path / "glance-api.conf"
    file.write_text("[DEFAULT]\ndebug = perhaps\n")
    with pytest.raises(ConfigError, match="debug"):
        load_logs([file])
