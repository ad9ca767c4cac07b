"""Files of metadata definitions: which there are, what is wrong with one, how one is written.

All of it blocks.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from registry.domain.errors import InvalidRequestError
from registry.domain.metadefs.files import Namespaced, file_name, read_file
from registry.errors import ConfigError
from registry.metadefs.arguments import DEFAULT_DIRECTORY

FILE_BYTES_MAX = 8 << 20  # as of a request; the largest that Glance ships has 20 KiB


def found_files(path: Path) -> list[Path]:
    """Return the files of a directory, or the one file; `ConfigError` if there are none.

    Where the usual directory is not there, that of an installed `glance` package is looked at.
    """
    installed = Path(sys.prefix) / DEFAULT_DIRECTORY.lstrip("/")
    if path == Path(DEFAULT_DIRECTORY) and not path.exists() and installed.is_dir():
        path = installed
    try:
        if path.is_file():
            return [path]
        files = sorted(each for each in path.iterdir() if each.suffix == ".json")
    except OSError as error:
        raise ConfigError(
            f"cannot read {path} ({error.strerror}): name the directory of the definitions with "
            "--path or [DEFAULT] metadata_source_path"
        ) from None
    if not files:
        raise ConfigError(f"there are no .json files in {path}")
    return files


def read(file: Path) -> Namespaced:
    """Return the namespace that a file describes; `ConfigError` says what is wrong with it."""
    try:
        size = file.stat().st_size
        if size > FILE_BYTES_MAX:
            raise ConfigError(f"{file}: {size} bytes are more than {FILE_BYTES_MAX}")
        text = file.read_text(encoding="utf-8")
        return read_file(json.loads(text, parse_constant=_refuse))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{file}: no JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except (UnicodeDecodeError, RecursionError):
        raise ConfigError(f"{file}: no JSON in UTF-8") from None
    except InvalidRequestError as error:
        raise ConfigError(f"{file}: {error}") from None


def _refuse(constant: str) -> None:
    raise InvalidRequestError(f"{constant} is no JSON")


def names(namespaces: Iterator[str]) -> Iterator[str]:
    """Give each namespace a name of a file, no two the same."""
    taken: set[str] = set()
    for namespace in namespaces:
        name, number = file_name(namespace), 1
        while (given := name if number == 1 else f"{name}-{number}") in taken:
            number += 1
        taken.add(given)
        yield f"{given}.json"


def write(file: Path, document: Mapping[str, Any]) -> None:
    """Write a file, or leave what was there."""
    text = json.dumps(document, indent=4, ensure_ascii=False) + "\n"
    try:
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise ConfigError(f"cannot write to {file.parent} ({error.strerror})") from None
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123  # it is open
            os.fchmod(descriptor, 0o644)
            stream.write(text)
        Path(temporary).replace(file)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise ConfigError(f"cannot write {file} ({error.strerror})") from None
