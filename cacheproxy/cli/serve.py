"""`cacheproxy serve`: the daemon itself."""

from __future__ import annotations

import logging
import os
import socket
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cacheproxy import logs, startchecks
from cacheproxy.certificate import Shown
from cacheproxy.cli.manual import DEFAULT_FILE
from cacheproxy.config import Settings
from cacheproxy.errors import ConfigError
from cacheproxy.meter import Meter
from cacheproxy.options import load
from cacheproxy.processes import inherited, listeners
from cacheproxy.processes.entries import Entries
from cacheproxy.processes.past import Past
from cacheproxy.processes.servicemanager import ServiceManager
from cacheproxy.processes.supervisor import Supervisor
from cacheproxy.reloading import reread
from cacheproxy.storefiles import stores_to_read

if TYPE_CHECKING:
    from backends.configuration import StoresSettings

log = logging.getLogger(__name__)


def run(arguments: Namespace) -> int:
    """Serve until stopped; the exit code (1: it cannot start, and has said why)."""
    logs.to_stderr("cacheproxy")
    try:
        return serve(arguments.config_file or [DEFAULT_FILE])
    except ConfigError as error:
        log.error("%s", error)  # noqa: TRY400  (the message says what to do)
        return 1
    except KeyboardInterrupt:  # before anything was started
        return 130


def serve(files: Sequence[Path]) -> int:
    """Serve until stopped; the exit code.  ConfigError if it cannot start."""
    manager = ServiceManager.from_environment(os.environ)
    settings = load(files)
    shown = Shown(settings)
    stores = stores_to_read(settings.stores)
    bound = listeners.listen(settings, inherited.take(os.environ))
    try:
        if settings.cache.enabled:
            startchecks.check_directory(settings.cache.directory)
        startchecks.check_notifications(settings.notifications.transport_url)
        startchecks.check_authorities("keystone", settings.keystone.cafile)
        startchecks.check_upstream(settings.upstream)
    except BaseException:
        for listener in bound:
            listener.sock.close()
        raise
    entries = Entries(
        partial(_keeper, stores), partial(_worker, shown), partial(reread, files), shown.renew
    )
    return Supervisor(settings, entries, bound, manager).run()


# What children run is imported by them, after the fork: the supervisor stays small, and inherits no
# library's threads or state to them.


def _keeper(
    stores: StoresSettings | None,
    settings: Settings,
    past: Past,
    control: socket.socket,
    meter: Meter,
) -> int:
    from cacheproxy import app  # noqa: PLC0415  (see above)

    return app.run_keeper(settings, stores, past, control, meter)


def _worker(
    shown: Shown, settings: Settings, number: int, control: socket.socket, meter: Meter
) -> int:
    from cacheproxy import app  # noqa: PLC0415  (see above)

    return app.run_worker(settings, number, control, meter, shown.current)
