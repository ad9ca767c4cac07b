"""The rules of every test, as a pytest plugin.

A test fails that

- blocks the event loop from our packages (`MAY_BLOCK` lists the reviewed exceptions),
- leaves an asyncio task behind, or an exception that nobody retrieved,
- leaves a file descriptor open,
- leaves a child process running, its own or one that its child left behind.

Warnings are errors by `filterwarnings` in pyproject.toml.  Async tests run on uvloop, as the
programs do.  The plugin is itself tested in `tests/meta/test_rules.py`.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
import uvloop
from blockbuster import BlockBuster, BlockBusterFunction, BlockingError

WATCHED_PACKAGES = ("cacheproxy", "registry", "backends")

# Calls that wait for a disk and that blockbuster does not know.
ALSO_BLOCKING = (
    "os.open",
    "os.pread",
    "os.preadv",
    "os.pwrite",
    "os.pwritev",
    "os.fsync",
    "os.fdatasync",
    "os.ftruncate",
    "os.posix_fallocate",
    "os.copy_file_range",
)

CHILD_GRACE_SECONDS = 2.0  # how long a child that was told to stop may take to be gone
CANCEL_TURNS = 32  # turns of the loop that a cancelled task may take to end
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


@dataclass(frozen=True, slots=True)
class MayBlock:
    """A reviewed exception: `function` may be called below `callers` of a file ending in `file`."""

    function: str
    file: str
    callers: frozenset[str]
    reason: str


MAY_BLOCK = (
    MayBlock(
        "io.TextIOWrapper.write",
        "logging/__init__.py",
        frozenset({"emit"}),
        "pytest's own log handlers; the programs hand their records to a thread",
    ),
    MayBlock(
        "io.BufferedWriter.write",
        "logging/__init__.py",
        frozenset({"emit"}),
        "the same, where it flushes",
    ),
    MayBlock(
        "os.pread",
        "cacheproxy/chunkread.py",
        frozenset({"read"}),
        "only what was just seen in memory: it does not wait for a disk",
    ),
    MayBlock(
        "os.sendfile",
        "cacheproxy/chunkread.py",
        frozenset({"send"}),
        "the same, into a socket that does not block",
    ),
    MayBlock(
        "os.pread",
        "registry/web/outgoing.py",
        frozenset({"_read_memory"}),
        "what the store said is in memory",
    ),
    MayBlock(
        "os.sendfile",
        "registry/web/outgoing.py",
        frozenset({"_send_pages"}),
        "the same, into a socket that does not block",
    ),
    MayBlock(
        "os.sendfile",
        "registry/web/lane.py",
        frozenset({"send_pages"}),
        "what was just seen in memory, into a socket that does not block",
    ),
    MayBlock(
        "os.preadv",
        "backends/keptfile.py",
        frozenset({"read_into"}),
        "only what is in memory (RWF_NOWAIT)",
    ),
    *(
        MayBlock(
            f"sqlite3.{function}",
            "registry/db/moments.py",
            frozenset({"now"}),
            "shared memory, under locks that are not waited for, and a page that was just written",
        )
        for function in ("Connection.execute", "Cursor.fetchall")
    ),
    MayBlock(
        "os.open",
        "cacheproxy/store/openfiles.py",
        frozenset({"open"}),
        "a file that is open already, by its descriptor: no name is looked up on the disk",
    ),
    MayBlock(
        "os.open",
        "asyncio/base_events.py",
        frozenset({"subprocess_exec", "subprocess_shell"}),
        "starting a process opens /dev/null",
    ),
    MayBlock(
        "os.path.abspath",
        "asyncpg/connect_utils.py",
        frozenset({"_dot_postgresql_path"}),
        "a new connection looks for certificates in the home directory, as libpq does",
    ),
    MayBlock(
        "os.stat",
        "asyncpg/connect_utils.py",
        frozenset({"_parse_connect_dsn_and_args"}),
        "the same",
    ),
    MayBlock(
        "os.open",
        "linecache.py",
        frozenset({"updatecache"}),
        "a traceback that is logged reads the source",
    ),
)

_blocked: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Watch the event loop for the whole run, and adopt what dying children leave behind."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise pytest.UsageError(f"prctl failed: {os.strerror(ctypes.get_errno())}")
    guard = BlockBuster(list(WATCHED_PACKAGES))
    for name in ALSO_BLOCKING:
        guard.functions[name] = BlockBusterFunction(
            None, name, scanned_modules=list(WATCHED_PACKAGES)
        )
    for exception in MAY_BLOCK:
        guard.functions[exception.function].can_block_in(exception.file, exception.callers)
    forget = _remember_blocking_calls()
    uvloop.new_event_loop().close()  # the first one opens a pipe that stays for the whole process
    guard.activate()
    config.add_cleanup(guard.deactivate)
    config.add_cleanup(forget)


def _remember_blocking_calls() -> Callable[[], None]:
    """Note each blocking call, since code under test may swallow the error; return the undoing."""
    plain = BlockingError.__init__

    def remembering(self: BlockingError, func: str) -> None:
        plain(self, func)
        stack = "".join(traceback.format_stack(limit=12)[:-2])
        _blocked.append(f"{func} was called on the event loop:\n{stack}")

    def undo() -> None:
        BlockingError.__init__ = plain  # type: ignore[method-assign]  # put back what stood there

    BlockingError.__init__ = remembering  # type: ignore[method-assign]  # the one place all pass
    return undo


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give async tests the loop that the programs use."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_finish() -> None:
    """Keep what stays for the whole run out of the collections that the task rule makes."""
    gc.collect()
    gc.freeze()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give async tests the task rule: first up and last down on their loop, inside the others."""
    if pytest_asyncio.is_async_test(item):
        names = item.fixturenames
        names.insert(names.index("_nothing_is_left") + 1, "_no_task_is_left")


@pytest_asyncio.fixture
async def _no_task_is_left() -> AsyncIterator[None]:
    # What was there before, modules and caches, is not looked through at the end: of a run's time
    # that took a tenth.  What earlier tests left in cycles goes first, or it would stay for ever.
    gc.collect()
    gc.freeze()
    loop = asyncio.get_running_loop()
    complaints: list[str] = []

    def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        shown = "".join(traceback.format_exception(error)) if error else ""
        complaints.append(f"{context['message']}\n{shown}")

    loop.set_exception_handler(note)
    yield
    for _ in range(CANCEL_TURNS):
        if not _other_tasks():
            break
        await asyncio.sleep(0)
    complaints += [f"a task was left behind: {task!r}" for task in _other_tasks()]
    gc.collect()  # an exception that nobody retrieved is told when its task is collected
    await asyncio.sleep(0)
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


def _other_tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    _blocked.clear()
    descriptors, children = open_descriptors(), running_children()
    yield
    complaints = list(_blocked)
    complaints += [f"a child was left running: {child}" for child in _leftover(children)]
    leaked = open_descriptors() - descriptors
    if leaked:
        gc.collect()  # what only a cycle of garbage keeps open is closed now
        leaked = open_descriptors() - descriptors
    complaints += [f"descriptor {number} was left open: {path}" for number, path in sorted(leaked)]
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


def open_descriptors() -> set[tuple[int, str]]:
    """Return this process's open descriptors, each with what it points at."""
    found: set[tuple[int, str]] = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add((int(entry.name), str(entry.readlink())))
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return found


def running_children() -> set[psutil.Process]:
    """Return this process's living children; the dead ones that nobody waits for do not count."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()  # no child at all: the common case, and much cheaper than a look at /proc
    return {
        child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE
    }


def _leftover(before: set[psutil.Process]) -> list[str]:
    """End the children that came after `before`, reap them, and describe those that ran on."""
    new = running_children() - before
    _, running = psutil.wait_procs(new, timeout=CHILD_GRACE_SECONDS)
    told: list[str] = []
    for child in running:
        try:
            command = " ".join(child.cmdline())
        except psutil.NoSuchProcess:
            continue
        if "multiprocessing.resource_tracker" in command:
            continue  # Python's own, one per run, until the interpreter ends
        told.append(f"{child.pid} {command}")
        child.kill()
        child.wait(CHILD_GRACE_SECONDS)
    return told
