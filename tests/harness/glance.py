"""The real Glance: with Keystone, and open to everybody (qemu's HTTP driver sends no token)."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.ceph import Ceph, Gateway, require_bindings
from harness.images import Disk, random_bytes
from harness.keystone import MEMBER, Keystone
from harness.program import Program, free_port
from harness.services import free_url, python_of, run_tool, seed, served
from harness.stores import (
    Store,
    ceph_s3_store,
    rbd_store,
    segments_store,
    swift_s3_store,
    swift_store,
)
from harness.swift import Swift

# `fast` reads ranges; `web`, any file behind a plain HTTP server, does not: 400.
CONFIGURATION = """
[DEFAULT]
enabled_backends = fast:file,web:http
show_multiple_locations = true
[database]
connection = sqlite:///{directory}/glance.db
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {directory}/images
[web]
[os_glance_staging_store]
filesystem_store_datadir = {directory}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {directory}/tasks
[oslo_concurrency]
lock_path = {directory}/lock
[oslo_messaging_notifications]
driver = noop
[wsgi]
python_interpreter = {python}
task_pool_threads = 16
"""

WITH_KEYSTONE = """
[paste_deploy]
flavor = keystone
config_file = {paste}
[keystone_authtoken]
www_authenticate_uri = {keystone}
auth_url = {keystone}
auth_type = password
username = glance
password = glance
project_name = service
user_domain_id = default
project_domain_id = default
service_token_roles = service
service_token_roles_required = true
"""

# Three stores, and all ways of import.
WIDE = """
[DEFAULT]
enabled_backends = fast:file,slow:file,web:http
enabled_import_methods = [glance-direct,web-download,copy-image,glance-download]
worker_self_reference_url = {url}
[slow]
filesystem_store_datadir = {directory}/slow-images
"""

WITH_CACHE = """
[DEFAULT]
image_cache_dir = {directory}/cache
worker_self_reference_url = http://glance-node.example:9292
[paste_deploy]
flavor = keystone+cachemanagement
"""

OPEN = """
[paste_deploy]
config_file = {paste}
[oslo_policy]
policy_file = {directory}/open-policy.yaml
"""

# Glance reads nothing from its own machine unless told to.
IMPORT = """
[import_filtering_opts]
allowed_schemes = [http]
disallowed_schemes = []
allowed_hosts = [127.0.0.1]
disallowed_hosts = []
allowed_ports = []
disallowed_ports = []
"""

# Several stores, and where their images are is told in some of the ways that Glance has; its API of
# locations tells it in any case, to services.
STORED = """
[DEFAULT]
enabled_backends = fast:file,web:http,{backends}
show_multiple_locations = {locations}
show_image_direct_url = {direct_url}
"""

LIST_RULES = "from glance import policies; print(*(r.name for r in policies.list_rules()))"


@dataclass(frozen=True, slots=True)
class Glance:
    """A running Glance; `headers` are what a member sends to it (a token; nothing if it is open)."""

    url: str
    headers: dict[str, str]
    directory: Path  # its files: images in `images`, those of the store `slow` in `slow-images`

    def sent(self, image: str) -> list[int]:
        """Return the statuses of its answers to requests for an image's data, if it has stores."""
        log = (self.directory / "access.log").read_text()
        return [
            int(status)
            for status in re.findall(rf'"GET /v2/images/{image}/file\S* HTTP/1.1" (\d+) ', log)
        ]


@dataclass(frozen=True, slots=True)
class FileServer:
    """A web server that does not know ranges, with the files of `directory`."""

    url: str
    directory: Path


def _make(directory: Path) -> None:
    python = python_of("glance")
    configuration = directory / "glance-api.conf"
    configuration.write_text(CONFIGURATION.format(directory=directory, python=python))
    run_tool(python.with_name("glance-manage"), "--config-file", configuration, "db_sync")
    rules = run_tool(python, "-W", "ignore", "-c", LIST_RULES).split()
    (directory / "open-policy.yaml").write_text("".join(f'{rule}: "@"\n' for rule in rules))


def load_metadefs(glance: Glance) -> None:
    """Give Glance the definitions of metadata that operators load."""
    python = python_of("glance")
    run_tool(
        *(python.with_name("glance-manage"), "--config-file", glance.directory / "glance-api.conf"),
        *("db_load_metadefs", python.parents[1] / "etc/glance/metadefs"),
    )


@contextmanager
def _glance(
    directory: Path, more: str, environment: Mapping[str, str] | None = None, **values: str
) -> Iterator[str]:
    python = python_of("glance")
    if not (directory / "glance.db").exists():  # else it goes on with what it had
        seed("glance", directory, _make)
    values["paste"] = str(python.parents[1] / "etc/glance/glance-api-paste.ini")
    url, port = free_url()
    (directory / "glance-api.conf").write_text(
        (CONFIGURATION + more).format(directory=directory, python=python, url=url, **values)
    )
    (directory / "glance-image-import.conf").write_text(IMPORT)
    # Its middlewares look for the configuration at home, or in /etc.
    home = {"OS_GLANCE_CONFIG_DIR": str(directory), "HOME": str(directory)}
    environment = {**home, **(environment or {})}
    with served("glance", "glance.wsgi.api:application", directory, port, environment):
        yield url


@pytest.fixture(scope="session")
def glance(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    """Run Glance with Keystone for the whole test run; it is in Keystone's catalog."""
    with running_glance(tmp_path_factory.mktemp("glance"), keystone) as running:
        keystone.add_endpoint("image", running.url)
        yield running


@contextmanager
def running_glance(
    directory: Path,
    keystone: Keystone,
    more: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Glance]:
    """Run Glance with Keystone, and with its files in `directory`; `more` is configured too."""
    with _glance(directory, WITH_KEYSTONE + more, environment, keystone=keystone.url) as url:
        yield Glance(url, {"X-Auth-Token": keystone.token(MEMBER)}, directory)


@pytest.fixture(scope="session")
def glance_wide(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    """Run Glance with Keystone and several stores; nobody finds it in the catalog."""
    directory = tmp_path_factory.mktemp("glance-wide")
    with _glance(directory, WITH_KEYSTONE + WIDE, keystone=keystone.url) as url:
        yield Glance(url, {"X-Auth-Token": keystone.token(MEMBER)}, directory)


@pytest.fixture(scope="session")
def glance_widest(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    """Run Glance with Keystone and all that it can do; nobody finds it in the catalog."""
    directory = tmp_path_factory.mktemp("glance-widest")
    with _glance(directory, WITH_KEYSTONE + WITH_CACHE + WIDE, keystone=keystone.url) as url:
        yield Glance(url, {"X-Auth-Token": keystone.token(MEMBER)}, directory)


@pytest.fixture(scope="session")
def glance_on_swift(
    keystone: Keystone, swift: Swift, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Glance, dict[str, Store]]]:
    """Run Glance with Keystone and stores in Swift, which are given by name."""
    directory = tmp_path_factory.mktemp("glance-on-swift")
    stores = [swift_store(swift), segments_store(swift, directory), swift_s3_store(swift)]
    with running_stored_glance(directory, keystone, stores) as running:
        yield running, {store.name: store for store in stores}


@pytest.fixture(scope="session")
def glance_on_ceph(
    keystone: Keystone, ceph: Ceph, radosgw: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Glance, dict[str, Store]]]:
    """Run Glance with Keystone and stores in Ceph, which are given by name."""
    require_bindings(python_of("glance"))
    stores = [rbd_store(ceph), ceph_s3_store(ceph, radosgw)]
    with running_stored_glance(
        tmp_path_factory.mktemp("glance-on-ceph"), keystone, stores
    ) as running:
        yield running, {store.name: store for store in stores}


@contextmanager
def running_keyed_glance(directory: Path, keystone: Keystone, more: str = "") -> Iterator[Glance]:
    """Run Glance with Keystone and this configuration besides, with its files in `directory`."""
    with _glance(directory, WITH_KEYSTONE + more, keystone=keystone.url) as url:
        yield Glance(url, {"X-Auth-Token": keystone.token(MEMBER)}, directory)


@contextmanager
def running_stored_glance(
    directory: Path,
    keystone: Keystone,
    stores: Sequence[Store],
    *,
    shown: Sequence[str] = ("locations", "direct_url"),
) -> Iterator[Glance]:
    """Run Glance with Keystone and these stores beside its own, with its files in `directory`.

    An image's record tells where it is by the members that `shown` names.
    """
    backends = ",".join(f"{store.name}:{store.kind}" for store in stores)
    more = WITH_KEYSTONE + STORED + "".join(store.section() for store in stores)
    told = {name: str(name in shown).lower() for name in ("locations", "direct_url")}
    environment = {"GUNICORN_CMD_ARGS": "--access-logfile access.log"}
    with _glance(
        directory, more, environment, keystone=keystone.url, backends=backends, **told
    ) as url:
        yield Glance(url, {"X-Auth-Token": keystone.token(MEMBER)}, directory)


@pytest.fixture(scope="session")
def glance_caching(
    keystone: Keystone, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Glance]:
    """Run Glance with Keystone, its own image cache and the interface to it."""
    with running_caching_glance(tmp_path_factory.mktemp("glance-caching"), keystone) as running:
        yield running


@contextmanager
def running_caching_glance(directory: Path, keystone: Keystone) -> Iterator[Glance]:
    """Run Glance with Keystone, its own image cache and the interface to it, in `directory`."""
    with _glance(directory, WITH_KEYSTONE + WITH_CACHE, keystone=keystone.url) as url:
        yield Glance(url, {"X-Auth-Token": keystone.token(MEMBER)}, directory)


@pytest.fixture(scope="session")
def glance_open(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    """Run Glance without authentication, everything allowed, for the whole test run."""
    with running_open_glance(tmp_path_factory.mktemp("glance-open")) as running:
        yield running


@contextmanager
def running_open_glance(directory: Path) -> Iterator[Glance]:
    """Run Glance without authentication, everything allowed, with its files in `directory`."""
    with _glance(directory, OPEN) as url:
        yield Glance(url, {}, directory)


@pytest.fixture(scope="session")
def file_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    """Run a web server without ranges for the whole test run: behind Glance's http store."""
    with running_file_server(tmp_path_factory.mktemp("file-server")) as running:
        yield running


@pytest.fixture
def files(file_server: FileServer, disk: Disk) -> Iterator[FileServer]:
    """Give a server of two images that Glance may fetch: `small.img`, and `small.qcow2`."""
    (file_server.directory / "small.img").write_bytes(random_bytes(1 << 20, seed=47))
    shutil.copy(disk.qcow2, file_server.directory / "small.qcow2")
    yield file_server
    (file_server.directory / "small.img").unlink()
    (file_server.directory / "small.qcow2").unlink()


@contextmanager
def running_file_server(directory: Path) -> Iterator[FileServer]:
    """Run a web server without ranges that gives the files of `directory`."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    program = Program("file-server", command, directory=directory)
    try:
        program.wait_for_port(port)
        yield FileServer(f"http://127.0.0.1:{port}", directory)
    finally:
        program.stop(codes=(-15,))  # it knows no other end
