"""Real OpenStack services under gunicorn, each in the environment that `make services` made.

Without it the tests that need one are skipped, or fail where CACHEPROXY_REQUIRE_SERVICES is set.
A service's empty database is made once and kept beside its environment.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from harness.program import REPOSITORY, Program, free_port

ENVIRONMENTS = REPOSITORY / ".venv-services"
TOOL_SECONDS = 120.0

# No arguments on gunicorn's command line: the services would take them for their own.
GUNICORN = """
wsgi_app = "{application}"
bind = "127.0.0.1:{port}"
workers = 1
threads = 16
timeout = 600
control_socket_disable = True
"""


def python_of(service: str) -> Path:
    """Return the interpreter of a service's environment; skip or fail where there is none."""
    environment = ENVIRONMENTS / service
    if not (environment / "installed").exists():
        unavailable(f"{service} is not installed: make services")
    return environment / "bin/python"


def unavailable(reason: str) -> NoReturn:
    """Skip the test that needs something, or fail it where CACHEPROXY_REQUIRE_SERVICES is set."""
    if os.environ.get("CACHEPROXY_REQUIRE_SERVICES"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def run_tool(*command: str | Path) -> str:
    """Run a service's own tool and return what it prints; fail if it does."""
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=TOOL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def seed(service: str, directory: Path, make: Callable[[Path], None]) -> None:
    """Fill `directory` with a service's empty database and what else is made only once."""
    kept = python_of(service).parents[1] / "seed"
    with kept.with_name("seed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a run has several processes
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=kept.parent) as made:
                (Path(made) / "seed").mkdir()
                make(Path(made) / "seed")
                (Path(made) / "seed").rename(kept)
    shutil.copytree(kept, directory, dirs_exist_ok=True)


@contextmanager
def served(
    service: str, application: str, directory: Path, port: int, environment: Mapping[str, str]
) -> Iterator[Program]:
    """Serve a service's WSGI application from `directory` until the context is left."""
    (directory / "gunicorn.conf.py").write_text(GUNICORN.format(application=application, port=port))
    program = Program(
        f"{service}-{port}",
        [python_of(service).with_name("gunicorn")],
        directory=directory,
        environment={"PYTHONWARNINGS": "ignore", **environment},
    )
    try:
        program.wait_for_port(port)
        yield program
    finally:
        program.stop()


def free_url() -> tuple[str, int]:
    """Return an address on this machine that nobody uses now, and its port."""
    port = free_port()
    return f"http://127.0.0.1:{port}", port
