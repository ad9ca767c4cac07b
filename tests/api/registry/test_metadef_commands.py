"""Metadata definitions from files and to files, as operators do it with those that Glance ships."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.services import python_of
from registry.cli.parser import parser
from registry.config import Settings
from registry.db.database import Database
from registry.db.metadefs import list_resource_types
from registry.domain.metadefs.files import file_document
from registry.errors import ConfigError
from registry.metadefs import command
from registry.metadefs.loading import everything
from registry.upkeep import sync_database

TEXT = {"title": "T", "type": "string"}
ONE: dict[str, Any] = {
    "namespace": "OS::One",
    "visibility": "public",
    "properties": {"p": {**TEXT, "default": 5}},
    "tags": [{"name": "t"}],
}


@pytest.fixture
async def catalog_of_definitions(settings: Settings) -> Settings:
    await sync_database(settings)
    return settings


async def run(settings: Settings, name: str, *arguments: str | Path) -> int:
    line = ["--config-file", "x", "db", name, *map(str, arguments)]
    options = await asyncio.to_thread(lambda: parser().parse_args(line))
    return int(await getattr(command, name.replace("-", "_"))(options, settings))


async def held(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what the catalog has, as files would have it."""
    database = await asyncio.to_thread(Database, settings.database)
    try:
        found = await database.query(everything)
        return {each.namespace.name: file_document(each.namespace, each.items) for each in found}
    finally:
        await database.aclose()


async def resource_types(settings: Settings) -> list[str]:
    database = await asyncio.to_thread(Database, settings.database)
    try:
        return [each.name for each in await database.query(list_resource_types)]
    finally:
        await database.aclose()


def read(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the documents in a directory by their namespaces, with what is empty left out."""
    documents = [json.loads(file.read_text()) for file in directory.glob("*.json")]
    return {
        each["namespace"]: {
            "visibility": "private",
            **{name: value for name, value in each.items() if value not in ([], {})},
        }
        for each in documents
    }


async def test_what_glance_ships_is_loaded_and_exported_the_same(
    catalog_of_definitions: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, out = catalog_of_definitions, tmp_path / "out"
    out.mkdir()
    source = python_of("glance").parents[1] / "etc/glance/metadefs"
    shipped = await asyncio.to_thread(read, source)
    assert len(shipped) > 30
    assert await run(settings, "load-metadefs", "--path", source) == 0
    assert f"{len(shipped)} added" in capsys.readouterr().out
    assert await run(settings, "export-metadefs", "--path", out) == 0
    assert await asyncio.to_thread(read, out) == shipped
    # And once more, of what was exported.
    assert await run(settings, "unload-metadefs") == 0
    assert (await held(settings), await resource_types(settings)) == ({}, [])
    assert await run(settings, "load-metadefs", "--path", out) == 0
    assert await held(settings) == shipped


@pytest.mark.parametrize(
    ("arguments", "then"),
    [
        ((), {**ONE, "tags": [{"name": "mine"}]}),
        (
            ("--merge",),
            {**ONE, "tags": [{"name": "mine"}, {"name": "t"}], "properties": ONE["properties"]},
        ),
        (
            ("--merge", "--prefer-new"),
            {
                **ONE,
                "description": "new",
                "properties": {"p": TEXT},
                "tags": [{"name": "mine"}, {"name": "t"}],
            },
        ),
        (
            ("--merge", "--overwrite"),
            {**ONE, "description": "new", "properties": {"p": TEXT}},
        ),
    ],
    ids=lambda value: "".join(value) if isinstance(value, tuple) else "",
)
async def test_what_is_there_already(
    catalog_of_definitions: Settings, tmp_path: Path, arguments: tuple[str, ...], then: Any
) -> None:
    settings, file = catalog_of_definitions, tmp_path / "one.json"
    file.write_text(json.dumps({**ONE, "tags": [{"name": "mine"}]}))
    assert await run(settings, "load-metadefs", "--path", file) == 0
    new = {**ONE, "description": "new", "properties": {"p": TEXT}}
    file.write_text(json.dumps(new))
    assert await run(settings, "load-metadefs", "--path", file, *arguments) == 0
    assert await held(settings) == {"OS::One": {"protected": False, **then}}


@pytest.mark.parametrize("arguments", [("--overwrite",), ("--prefer-new",)])
async def test_options_that_belong_together(
    catalog_of_definitions: Settings, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "one.json").write_text(json.dumps(ONE))
    for more in (arguments, ("--merge", "--overwrite", "--prefer_new")):
        with pytest.raises(ConfigError, match="--prefer-new and --overwrite"):
            await run(catalog_of_definitions, "load-metadefs", "--path", tmp_path, *more)
    assert await held(catalog_of_definitions) == {}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{", "no JSON: line 1, column 2"),
        ("[]", "is not of type 'object'"),
        ("{}", "'namespace' is a required property"),
        ('{"namespace": "n", "tags": [{"name": 5}]}', "in 'tags[0].name'"),
        ('{"namespace": "n", "objects": [{}]}', "in 'objects[0]'"),
        ('{"namespace": "n", "properties": {"p": 5}}', "in 'properties.p'"),
        ('{"namespace": "n", "tags": [{"name": "a"}, {"name": "a"}]}', "already"),
        ('{"namespace": "n", "properties": {"p": {"default": NaN}}}', "NaN is no JSON"),
        ('{"namespace": "n\\u0000"}', "NUL"),
        ("[" * 100_000, "no JSON in UTF-8"),
        (b"\xff", "no JSON in UTF-8"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_file_that_cannot_be_loaded_hinders_no_other(
    catalog_of_definitions: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    written: str | bytes,
    told: str,
) -> None:
    (tmp_path / "a.json").write_bytes(written.encode() if isinstance(written, str) else written)
    (tmp_path / "b.json").write_text(json.dumps(ONE))
    assert await run(catalog_of_definitions, "load-metadefs", "--path", tmp_path) == 1
    captured = capsys.readouterr()
    assert captured.out == "namespaces: 1 added, 1 not loaded\n"
    assert f"{tmp_path}/a.json: " in captured.err
    assert told in captured.err
    assert list(await held(catalog_of_definitions)) == ["OS::One"]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("load-metadefs", lambda _path: None),
        ("load-metadefs", Path.mkdir),
        ("export-metadefs", lambda _path: None),
    ],
)
async def test_where_nothing_is(
    catalog_of_definitions: Settings, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "absent")
    with pytest.raises(ConfigError, match="absent"):
        await run(catalog_of_definitions, name, "--path", tmp_path / "absent")


async def test_two_namespaces_never_share_a_file(
    catalog_of_definitions: Settings, tmp_path: Path
) -> None:
    settings, out = catalog_of_definitions, tmp_path / "out"
    out.mkdir()
    for number, name in enumerate(("../a", "a", "a::", "ü")):
        (tmp_path / f"{number}.json").write_text(json.dumps({**ONE, "namespace": name}))
    assert await run(settings, "load-metadefs", "--path", tmp_path) == 0
    assert await run(settings, "export-metadefs", "--path", out) == 0
    found = await asyncio.to_thread(lambda: sorted(each.name for each in out.iterdir()))
    assert found == ["a-2.json", "a-3.json", "a.json", "namespace.json"]
    assert set(await asyncio.to_thread(read, out)) == {"../a", "a", "a::", "ü"}
