"""The rules of every test, broken one by one: each must fail the test that breaks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

REPOSITORY = Path(__file__).parents[2]

BROKEN = """
import asyncio
import os
import socket
import subprocess
import sys
import warnings

import pytest
import uvloop

from cacheproxy import blocks, blocks_and_swallows

kept = []


async def test_keeps_every_rule(tmp_path):
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
    await asyncio.to_thread(blocks, tmp_path / "file")
    task = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    task.cancel()
    with open(tmp_path / "other", "wb") as file:
        file.write(b"a test itself may block: nobody waits for it")
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await done.wait()


async def test_blocks_the_loop(tmp_path):
    blocks(tmp_path / "file")


async def test_blocks_the_loop_and_nobody_hears(tmp_path):
    blocks_and_swallows(tmp_path / "file")


def test_warns():
    warnings.warn("old", DeprecationWarning)


async def test_never_awaits():
    asyncio.sleep(0)


async def test_leaves_a_task():
    kept.append(asyncio.create_task(asyncio.Event().wait()))


async def test_leaves_an_exception():
    async def fails():
        raise ValueError("nobody hears")

    task = asyncio.create_task(fails())
    await asyncio.wait([task])


async def test_leaves_a_failing_callback():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)


@pytest.fixture
async def task_of_a_fixture():
    kept.append(asyncio.create_task(asyncio.Event().wait()))


async def test_leaves_a_task_of_a_fixture(task_of_a_fixture):
    pass


def test_leaves_a_descriptor():
    kept.append(os.open("/dev/zero", os.O_RDONLY))


async def test_leaves_a_connection():
    kept.extend(socket.socketpair())


def test_leaves_a_child():
    kept.append(subprocess.Popen(["sleep", "60"]))


def test_leaves_a_grandchild():
    subprocess.run(["sh", "-c", "sleep 60 & true"], check=True)


def test_after_all_that_a_good_one_passes():
    pass
"""

PRODUCT = """
def blocks(path):
    with path.open("wb") as file:
        file.write(b"x")


def blocks_and_swallows(path):
    try:
        blocks(path)
    except Exception:
        pass
"""

EXPECTED = {
    "test_keeps_every_rule": None,
    "test_blocks_the_loop": "Blocking call to",
    "test_blocks_the_loop_and_nobody_hears": "was called on the event loop",
    "test_warns": "DeprecationWarning: old",
    "test_never_awaits": "was never awaited",
    "test_leaves_a_task": "a task was left behind",
    "test_leaves_an_exception": "nobody hears",
    "test_leaves_a_failing_callback": "division by zero",
    "test_leaves_a_task_of_a_fixture": "a task was left behind",
    "test_leaves_a_descriptor": "was left open: /dev/zero",
    "test_leaves_a_connection": "was left open: socket:",
    "test_leaves_a_child": "a child was left running",
    "test_leaves_a_grandchild": "a child was left running",
    "test_after_all_that_a_good_one_passes": None,
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run the broken tests once, in a pytest of their own; return each one's complaints."""
    place = tmp_path_factory.mktemp("broken")
    (place / "test_broken.py").write_text(BROKEN)
    (place / "conftest.py").write_text('pytest_plugins = ("harness.rules",)')
    for package in ("cacheproxy", "registry", "backends"):  # stand-ins for the watched packages
        (place / package).mkdir()
        (place / package / "__init__.py").write_text(PRODUCT)
    report = place / "report.xml"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", place, "--junitxml", report),
            *("--config-file", REPOSITORY / "pyproject.toml", "--rootdir", place),
            *("--override-ini", f"pythonpath={place} {REPOSITORY / 'tests'}"),
            *("-p", "no:cacheprovider"),
        ],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    told: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        complaints = [*case.iter("failure"), *case.iter("error")]
        texts = [part for each in complaints for part in (each.get("message"), each.text)]
        told[case.get("name", "")] = told.get(case.get("name", ""), "") + "".join(
            filter(None, texts)
        )
    assert set(told) == set(EXPECTED), run.stdout
    return told


@pytest.mark.parametrize(("name", "complaint"), EXPECTED.items())
def test_rule(outcome: dict[str, str], name: str, complaint: str | None) -> None:
    if complaint is None:
        assert outcome[name] == ""
    else:
        assert complaint in outcome[name]
