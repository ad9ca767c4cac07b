"""Nova's and Cinder's own image code, in processes of their own, pointed to any image service."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.keystone import GLANCE, Keystone, User
from harness.program import BOUND_TO_US, REPOSITORY
from harness.services import python_of

PROGRAM = REPOSITORY / "tests/clients/image_calls.py"
STOP_SECONDS = 30.0

# As on a compute node; a retry would hide what is wrong, and waits.
CONFIGURATION = {
    "nova": """
[DEFAULT]
state_path = {directory}
[glance]
endpoint_override = {url}
num_retries = 0
[service_user]
send_service_user_token = true
auth_type = password
auth_url = {keystone}
username = {service.name}
password = {service.password}
project_name = {service.project}
user_domain_id = default
project_domain_id = default
""",
    "cinder": """
[DEFAULT]
state_path = {directory}
auth_strategy = keystone
glance_api_servers = {url}
glance_num_retries = 0
[service_user]
send_service_user_token = true
auth_type = password
auth_url = {keystone}
username = {service.name}
password = {service.password}
project_name = {service.project}
user_domain_id = default
project_domain_id = default
[glance]
auth_type = password
auth_url = {keystone}
username = {service.name}
password = {service.password}
project_name = {service.project}
user_domain_id = default
project_domain_id = default
""",
}


class CallError(Exception):
    """What the code raised: the name of its exception, and its text."""


@dataclass(frozen=True, slots=True)
class ImageCode:
    """A process that has loaded the code and waits for calls."""

    process: subprocess.Popen[str]
    keystone: Keystone

    def call(self, name: str, user: User, **arguments: Any) -> Any:
        """Call a method of the image service as a user; CallError if it raises."""
        caller = {"token": self.keystone.token(user), "project": self.keystone.project_id(user)}
        asked = {"call": name, "as": caller, "with": arguments}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked, default=str) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "it ended"
        answer = json.loads(line)
        if "error" in answer:
            raise CallError(answer["error"], answer["text"])
        return answer["result"]


@contextmanager
def image_code(name: str, url: str, keystone: Keystone, directory: Path) -> Iterator[ImageCode]:
    """Run the image code of `nova` or `cinder` in front of an image service."""
    configuration = directory / f"{name}.conf"
    configuration.write_text(
        CONFIGURATION[name].format(
            directory=directory, url=url, keystone=keystone.url, service=GLANCE
        )
    )
    with (directory / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*BOUND_TO_US, python_of(name), PROGRAM, name, configuration],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield ImageCode(process, keystone)
    finally:
        try:
            process.communicate(timeout=STOP_SECONDS)  # it ends with its input
        finally:
            process.kill()
