"""Glance's own store library, in a process of its own: what it wrote we read, and the other way.

with glance_store(directory, {"stores": "s3", "s3_store_host": …}) as theirs:
uri = theirs.add("image", content)
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.program import BOUND_TO_US
from harness.services import python_of

PROGRAM = """
import hashlib, json, sys
import glance_store
from oslo_config import cfg

conf = cfg.CONF
glance_store.register_opts(conf)
conf(["--config-file", sys.argv[1]])
glance_store.create_stores(conf)
for line in sys.stdin:
    verb, *rest = json.loads(line)
    if verb == "add":
        name, path, size = rest
        with open(path, "rb") as data:
            told = glance_store.add_to_backend_with_multihash(conf, name, data, size, "sha256")
        result = {"uri": told[0], "size": told[1]}
    elif verb == "read":
        pieces, size = glance_store.get_from_backend(rest[0])
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        result = {"size": size, "sha256": digest.hexdigest()}
    else:
        glance_store.delete_from_backend(rest[0])
        result = {}
    print(json.dumps(result), flush=True)
"""


@dataclass(frozen=True, slots=True)
class GlanceStore:
    """Glance's stores as one configuration makes them; a call that fails fails the test."""

    directory: Path
    process: subprocess.Popen[str]

    def add(self, name: str, content: bytes, *, tell_size: bool = True) -> str:
        """Write an image, and return its location."""
        path = self.directory / name
        path.write_bytes(content)
        told = self._call("add", name, str(path), len(content) if tell_size else 0)
        path.unlink()
        assert told["size"] == len(content)
        return str(told["uri"])

    def check(self, uri: str, content: bytes) -> None:
        """Read an image, and see that it is this one."""
        told = self._call("read", uri)
        assert told == {"size": len(content), "sha256": sha256(content).hexdigest()}

    def delete(self, uri: str) -> None:
        """Delete an image."""
        self._call("delete", uri)

    def _call(self, *call: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"{call}: {(self.directory / 'glance_store.log').read_text()[-4096:]}"
        told: dict[str, Any] = json.loads(line)
        return told


@contextmanager
def glance_store(directory: Path, options: Mapping[str, str]) -> Iterator[GlanceStore]:
    """Run Glance's library with these options of `[glance_store]`."""
    lines = [f"{name} = {value}" for name, value in options.items()]
    configuration = directory / "glance-store.conf"
    configuration.write_text("\n".join(["[glance_store]", *lines, ""]))
    with (directory / "glance_store.log").open("w") as log:
        process = subprocess.Popen(
            [*BOUND_TO_US, python_of("glance"), "-W", "ignore", "-c", PROGRAM, configuration],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield GlanceStore(directory, process)
    finally:
        process.communicate(timeout=30)
