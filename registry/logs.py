"""Log lines: when, how grave, who says it, in which request, and what.

    2026-01-31 12:00:00,000 INFO registry.service.images [req-3f0c…] deleted image …

Of oslo.log's options `debug`, `log_file` and `log_dir` are honoured; the others are named in the log
as not known.  A service writes in a thread of its own: whoever reads standard error, or the disk of
the file, may stand still, and the loop waits for neither.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from registry.errors import ConfigError
from registry.options import truth

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")  # of what is being done here
RECORDS_MAX = 10_000  # waiting to be written; more are dropped
GATHER_SECONDS = 0.05  # that lines wait for others to be written with
FLUSH_SECONDS = 2.0  # how long the end of a service waits for its last lines
FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
_OURS = ("registry", "backends")  # what libraries say in detail may hold credentials
_PROGRAM = "cacheproxy-registry"

LOG_OPTIONS: tuple[cfg.Opt, ...] = (
    truth(
        "debug",
        "Log what is of use to developers too: of the catalog, not of its libraries, which might print credentials.",
    ),
    cfg.StrOpt(
        "log_file",
        deprecated_name="logfile",
        help="File that `serve` logs to instead of standard error, relative to log_dir. Rotate it by renaming: it is opened anew. Not set, without log_dir either: standard error, the journal under systemd.",
    ),
    cfg.StrOpt(
        "log_dir",
        deprecated_name="logdir",
        help="Directory of log_file; where that is not set, of cacheproxy-registry.log.",
    ),
)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and where: None is standard error."""

    debug: bool = False
    file: Path | None = None


def load_logs(files: Sequence[Path]) -> LogSettings:
    """Read configuration files, the later over the earlier; `ConfigError` says what to change."""
    conf = cfg.ConfigOpts()
    conf.register_opts(LOG_OPTIONS)
    try:
        conf(args=[], default_config_files=[str(file) for file in files], default_config_dirs=[])
        name = conf.log_file or (f"{_PROGRAM}.log" if conf.log_dir else None)
        file = None if name is None else Path(conf.log_dir or ".") / name
        return LogSettings(conf.debug, file)
    except (cfg.Error, ValueError) as error:
        raise ConfigError(" ".join(str(error).split())) from None


def log_here() -> None:
    """Write all lines at once, on standard error: for commands that end."""
    _only(_lines(logging.StreamHandler(sys.stderr)))


@contextmanager
def logging_through_a_thread(settings: LogSettings) -> Iterator[None]:
    """Write all lines of a service in a thread, as long as the context lasts."""
    writer = _lines(logging.StreamHandler(sys.stderr) if settings.file is None else _file(settings))
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    some = threading.Event()
    listener = _Listener(waiting, some, writer)
    _only(_Bounded(waiting, some))
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.DEBUG if settings.debug else logging.INFO)
    listener.start()
    try:
        yield
    finally:
        listener.stop()


def _file(settings: LogSettings) -> logging.Handler:
    assert settings.file is not None
    try:
        return logging.handlers.WatchedFileHandler(settings.file, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"[DEFAULT] log_file: cannot write to {settings.file} ({error.strerror})"
        ) from None


@contextmanager
def saying(request_id: str) -> Iterator[None]:
    """Have lines told as of a request, as long as the context lasts."""
    before = REQUEST_ID.set(request_id)
    try:
        yield
    finally:
        REQUEST_ID.reset(before)


def _lines(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(logging.Formatter(FORMAT))
    return handler


def _only(handler: logging.Handler) -> None:
    handler.addFilter(_mark)
    handler.addFilter(_told_in_a_line)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _mark(record: logging.LogRecord) -> bool:
    """Note on a line in which request it was said: only there, and not in the thread, is it known."""
    record.request_id = REQUEST_ID.get()
    return True


def _told_in_a_line(record: logging.LogRecord) -> bool:
    """Leave out the traceback of a lost connection to the database that SQLAlchemy gives back."""
    if record.name.startswith("sqlalchemy.pool") and record.exc_info and record.exc_info[1]:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]}", ()
        record.exc_info = None
    return True


class _Bounded(logging.handlers.QueueHandler):
    """Leaves lines to a `_Listener`, which it wakes for many of them."""

    def __init__(
        self, waiting: queue.SimpleQueue[logging.LogRecord], some: threading.Event
    ) -> None:
        super().__init__(waiting)
        self._waiting = waiting
        self._some = some

    def enqueue(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() >= RECORDS_MAX:
            return  # the reader of the log stands still; serving goes on
        self._waiting.put(record)
        if not self._some.is_set():
            self._some.set()


class _Listener:
    """Writes lines in a thread, a little later than they are said.

    To wake a thread costs more than the line of an answer: so many are written at once.
    """

    def __init__(
        self,
        waiting: queue.SimpleQueue[logging.LogRecord],
        some: threading.Event,
        writer: logging.Handler,
    ) -> None:
        self._waiting = waiting
        self._some = some
        self._writer = writer
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, for a bounded time."""
        self._stopping.set()
        self._some.set()
        self._thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._some.wait()
            self._stopping.wait(GATHER_SECONDS)
            self._some.clear()
            while True:
                try:
                    record = self._waiting.get_nowait()
                except queue.Empty:
                    break
                self._writer.handle(record)
