"""The commands of docs/uploads.md, as a reader types them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from harness.catalog import Catalog
from harness.images_api import ImagesApi
from harness.program import REPOSITORY

DATA = bytes(range(256)) * 9000
PARTS = {"Content-Type": "application/octet-stream", "Upload-Complete": "?0"}
PAGE = (REPOSITORY / "docs/uploads.md").read_text()


def block(language: str) -> str:
    """Return the page's one block in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(DATA)
    return path


def begun(api: ImagesApi, count: int) -> str:
    """Return an image whose upload has come so far; negative: it was not begun."""
    image = api.create()
    if count >= 0:
        api.call("PUT", f"/{image}/file", headers=PARTS, body=DATA[:count]).expect(204)
    return image


@pytest.mark.parametrize("count", [-1, 0, 1000, len(DATA)])
def test_with_curl(catalog: Catalog, file: Path, count: int) -> None:
    api = ImagesApi(catalog.url)
    image = begun(api, count)
    environment = {"IMAGES": f"{catalog.url}/v2/images", "ID": image, "FILE": str(file)}
    done = subprocess.run(
        [
            "env",
            *(f"{name}={value}" for name, value in environment.items()),
            "sh",
            "-c",
            block("sh"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert api.download(image).expect(200).body == DATA


@pytest.mark.parametrize("count", [-1, 0, 1000, len(DATA)])
def test_with_python(catalog: Catalog, file: Path, count: int) -> None:
    api = ImagesApi(catalog.url)
    image = begun(api, count)
    names: dict[str, Any] = {}
    exec(block("python"), names)  # our own page's
    names["upload"](f"{catalog.url}/v2/images", image, file)
    names["upload"](f"{catalog.url}/v2/images", image, file)
    assert api.download(image).expect(200).body == DATA
    assert requests.head(f"{catalog.url}/v2/images/{image}/upload", timeout=60).ok
