"""What commands print: text for people, or with `--json` one JSON document."""

from __future__ import annotations

import sys
from argparse import Namespace

import msgspec


def json_document(document: object) -> None:
    """Print a JSON document."""
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
    sys.stdout.write(encoded.decode() + "\n")


def text(lines: str) -> None:
    """Print lines for people."""
    sys.stdout.write(lines + "\n")


def failed(arguments: Namespace, code: str, message: str) -> None:
    """Say why a command failed."""
    if arguments.json:
        json_document({"error": {"code": code, "message": message}})
    sys.stderr.write(f"cacheproxy: {message}\n")
