"""aiohttp comes without the machine's bundle of authorities, and everybody else still finds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import trustme

PROGRAM = """
import json, os, ssl
from cacheproxy import clientlibrary
clientlibrary.bring_in()
from aiohttp import connector
contexts = connector._SSL_CONTEXT_VERIFIED, ssl.create_default_context()
print(json.dumps([os.environ.get("SSL_CERT_FILE"), *(each.cert_store_stats()["x509_ca"] for each in contexts)]))
"""


def told(**environment: str) -> tuple[str | None, int, int]:
    """What a fresh process has: its variable, and how many authorities aiohttp's context and another trust."""
    others = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**others, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    variable, ours, others_trust = json.loads(run.stdout)
    return variable, ours, others_trust


def test_the_bundle_is_not_read_for_nobody(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    assert told(SSL_CERT_FILE=str(bundle)) == (str(bundle), 0, 1)


def test_a_variable_that_was_not_set_is_not_set_afterwards() -> None:
    variable, authorities, _ = told()
    assert (variable, authorities) == (None, 0)
