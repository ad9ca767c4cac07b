"""Dated figures of the long tests, kept in `tests/results`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

DIRECTORY = Path(__file__).parents[1] / "results"


def note(file: str, part: str, figures: dict[str, object]) -> None:
    """Write the figures of one part of a file, dated; its other parts stay as they are."""
    path = DIRECTORY / f"{file}.json"
    parts = json.loads(path.read_text()) if path.exists() else {}
    parts[part] = {"date": datetime.now(UTC).date().isoformat(), **figures}
    path.write_text(json.dumps(parts, indent=2, sort_keys=True) + "\n")
