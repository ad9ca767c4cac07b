"""The real Swift on one disk, one replica: with Keystone's tokens, and with S3 for its EC2 keys.

No memcached: tokens and containers are looked up afresh for every request, nothing is ever stale.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.keystone import GLANCE, Keystone, User
from harness.program import Program, free_port
from harness.services import python_of, run_tool, unavailable

STORAGE = ("account", "container", "object")
OBJECT_READ = re.compile(r'"GET /disk/\S+" 20[06] (\d+) ')  # in the log of the object server

SWIFT = """
[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
[storage-policy:0]
name = Policy-0
default = yes
"""

SERVER = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {directory}
devices = {directory}/devices
mount_check = false
disable_fallocate = true
log_address = /nonexistent
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""

PLAIN_FILTERS = "\n".join(
    f"[filter:{name}]\nuse = egg:swift#{name}"
    for name in ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "copy")
)

# authtoken stands before s3api: else Keystone's keys are not understood there.
PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {directory}
log_address = /nonexistent
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats bulk authtoken s3api s3token keystoneauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
{plain_filters}
[filter:slo]
use = egg:swift#slo
minimum_segment_size = 1
rate_limit_after_segment = 1000
[filter:dlo]
use = egg:swift#dlo
rate_limit_after_segment = 1000
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, member
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
min_segment_size = 1
[filter:s3token]
use = egg:swift#s3token
auth_uri = {keystone}
reseller_prefix = AUTH_
delay_auth_decision = true
{service}
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = {keystone}
delay_auth_decision = true
include_service_catalog = false
{service}
"""

SERVICE = f"""
auth_type = password
auth_url = {{keystone}}
username = {GLANCE.name}
password = {GLANCE.password}
project_name = {GLANCE.project}
user_domain_id = default
project_domain_id = default
"""

MAKE_RINGS = """
import sys
from swift.common.ring import RingBuilder
for argument in sys.argv[1:]:
    kind, port = argument.split(":")
    builder = RingBuilder(1, 1, 0)
    builder.add_dev({
        "region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "disk",
        "replication_ip": "127.0.0.1", "replication_port": int(port), "weight": 1.0, "meta": "",
    })
    builder.rebalance()
    builder.get_ring().save(f"{kind}.ring.gz")
"""


@dataclass(frozen=True, slots=True)
class Swift:
    """A running Swift; S3 is spoken at `url` too."""

    url: str
    keystone: Keystone
    directory: Path  # its files; each server's log is there
    proxy: Program  # what everybody speaks with

    def read_bytes(self) -> int:
        """Return how much data of objects was asked for so far, from the object server's log."""
        log = (self.directory / "swift-object.log").read_text()
        return sum(int(count) for count in OBJECT_READ.findall(log))

    def account(self, user: User) -> str:
        """Return the storage URL of a user's project."""
        return f"{self.url}/v1/AUTH_{self.keystone.project_id(user)}"

    def ec2_keys(self, user: User) -> tuple[str, str]:
        """Return a new access key of a user for S3, and its secret."""
        found = self.keystone.call("GET", f"/users?name={user.name}").expect(200).json()["users"]
        document: Any = {"tenant_id": self.keystone.project_id(user)}
        path = f"/users/{found[0]['id']}/credentials/OS-EC2"
        made = self.keystone.call("POST", path, document).expect(201).json()["credential"]
        return made["access"], made["secret"]


@pytest.fixture(scope="session")
def swift(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """Run Swift with Keystone for the whole test run; it is in Keystone's catalog."""
    with running_swift(tmp_path_factory.mktemp("swift"), keystone) as running:
        keystone.add_endpoint("object-store", f"{running.url}/v1/AUTH_$(project_id)s")
        yield running


@contextmanager
def running_swift(directory: Path, keystone: Keystone) -> Iterator[Swift]:
    """Run Swift with Keystone, and with its files in `directory`."""
    python = python_of("swift")
    disk = directory / "devices/disk"
    disk.mkdir(parents=True)
    _check_attributes(disk)
    ports = {kind: free_port() for kind in STORAGE}
    (directory / "swift.conf").write_text(SWIFT)
    rings = [f"{kind}:{port}" for kind, port in ports.items()]
    run_tool("env", "-C", str(directory), str(python), "-c", MAKE_RINGS, *rings)
    values = {"directory": str(directory), "user": pwd.getpwuid(os.geteuid()).pw_name}
    programs = []
    for kind, port in ports.items():
        configuration = SERVER.format(kind=kind, port=port, **values)
        programs.append((kind, port, configuration))
    proxy = free_port()
    service = SERVICE.format(keystone=keystone.url)
    values |= {"keystone": keystone.url, "service": service, "plain_filters": PLAIN_FILTERS}
    programs.append(("proxy", proxy, PROXY.format(port=proxy, **values)))
    with ExitStack() as stack:
        running = [
            stack.enter_context(_server(python, directory, kind, port, configuration))
            for kind, port, configuration in programs
        ]
        yield Swift(f"http://127.0.0.1:{proxy}", keystone, directory, running[-1])


@contextmanager
def _server(
    python: Path, directory: Path, kind: str, port: int, configuration: str
) -> Iterator[Program]:
    file = directory / f"{kind}.conf"
    file.write_text(configuration)
    program = Program(
        f"swift-{kind}",
        [python.with_name(f"swift-{kind}-server"), file, "-v"],
        directory=directory,
        environment={"PYTHONWARNINGS": "ignore"},
    )
    try:
        program.wait_for_port(port)
        yield program
    finally:
        program.stop(codes=(0, -15))


def _check_attributes(directory: Path) -> None:
    """Skip the test where the file system has no extended attributes: Swift needs them."""
    try:
        os.setxattr(directory, "user.swift.test", b"x")
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        unavailable(f"Swift needs a file system with user.* attributes: {directory} has none")
    os.removexattr(directory, "user.swift.test")
