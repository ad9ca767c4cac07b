"""OpenStack's own acceptance tests of the Image API, run from their own environment."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.glance import FileServer
from harness.keystone import ADMIN, Keystone
from harness.services import python_of, run_tool

TESTS = r"^tempest\.api\.image"
RUN_SECONDS = 1200.0

# The image service is found in Keystone's catalog, as its users find it.
CONFIGURATION = """
[DEFAULT]
log_file = {directory}/tempest.log
[oslo_concurrency]
lock_path = {directory}/lock
[auth]
use_dynamic_credentials = true
create_isolated_networks = false
tempest_roles = member
admin_username = {admin.name}
admin_password = {admin.password}
admin_project_name = {admin.project}
admin_domain_name = Default
[identity]
uri_v3 = {keystone}
auth_version = v3
region = RegionOne
[identity-feature-enabled]
api_v3 = true
[service_available]
glance = true
cinder = false
neutron = false
nova = false
swift = false
horizon = false
[image]
region = RegionOne
catalog_type = image
http_image = {files}/small.img
http_qcow2_image = {files}/small.qcow2
build_timeout = 60
image_caching_enabled = true
disk_formats = qcow2,raw,vmdk,iso,vhd,vdi,ami,ari,aki
container_formats = bare,ovf,ova,ami,ari,aki,docker
[image-feature-enabled]
import_image = true
image_format_enforcement = true
manage_locations = true
http_store_enabled = true
"""

# `{0} tempest.api.image….test_x [0.123s] ... ok`; a class that is skipped has no time.
_LINE = re.compile(
    r"^\{\d+\} (?P<test>.+?)(?: \[[0-9.]+s\])? \.\.\. (?P<result>ok|FAILED|SKIPPED.*)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each test, and all that was printed."""

    results: dict[str, str]  # "ok", "FAILED", or "SKIPPED" and why, by the test's name
    text: str

    def number(self, result: str) -> int:
        """Return how many ended so."""
        return sum(each.startswith(result) for each in self.results.values())


def run_tempest(
    directory: Path,
    keystone: Keystone,
    file_server: FileServer,
    *,
    workers: int = 1,
) -> Outcome:
    """Run the image tests, in so many processes."""
    program = python_of("tempest").with_name("tempest")
    known = directory.with_name(f"{directory.name}.yaml")  # it would be in the home directory
    run_tool(program, "init", "--workspace-path", known, directory)
    (directory / "etc/tempest.conf").write_text(
        CONFIGURATION.format(
            directory=directory, admin=ADMIN, keystone=keystone.url, files=file_server.url
        )
    )
    done = subprocess.run(
        [program, "run", "--concurrency", str(workers), "--regex", TESTS],
        cwd=directory,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    results = {found["test"]: found["result"] for found in _LINE.finditer(done.stdout)}
    assert results, done.stdout + done.stderr
    return Outcome(results, done.stdout)
