"""docs/openapi.json is the program's own, and describes every route, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

import pytest

from registry.web.identity import everybody
from registry.web.openapi.document import main, openapi, page, statuses_of
from registry.web.openapi.operations import OPERATIONS
from registry.web.options import WEB_UNTOLD
from registry.web.progress import Progress
from registry.web.routes import Handlers, build_application

PAGE = Path(__file__).parents[3] / "docs/openapi.json"
# Paths that any method is answered at; they are described by the one that clients use.
ANY = {"/versions", "/healthcheck", "/healthcheck/live", "/v2", "/"}


def routes() -> set[tuple[str, str]]:
    """Return what the application answers."""
    kinds = get_type_hints(Handlers)
    handlers = Handlers(**{name: kind.__new__(kind) for name, kind in kinds.items()})
    handlers.discovery.known_versions = ("2.17",)
    application = build_application(Progress(), everybody, handlers, WEB_UNTOLD)
    found = set()
    for route in application.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        path = path.replace("/{version}", "/v2").replace("{slash}", "")
        path = "/" if path == "/{unversioned}" else path
        found.add(("GET" if path in ANY else route.method, path))
    return found


def test_the_file_is_the_generated_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert PAGE.read_text() == page(), (
        "run: python -m registry.web.openapi.document > docs/openapi.json"
    )
    main()
    assert capsys.readouterr().out == page()


def test_every_route_is_described_and_no_other() -> None:
    described = {(each.method, each.path) for each in OPERATIONS}
    assert len(described) == len(OPERATIONS)
    assert described == routes()


def test_what_it_refers_to_is_there() -> None:
    document = openapi()
    names = re.findall(r'"\$ref": "#/components/(\w+)/([^"]+)"', page())
    for kind, name in names:
        assert name in document["components"][kind]
    assert {name for kind, name in names if kind == "schemas"} == set(
        document["components"]["schemas"]
    )


def test_operations_have_names_of_their_own() -> None:
    names = re.findall(r'"operationId": "(\w+)"', page())
    assert len(set(names)) == len(names) == len(OPERATIONS)


def test_no_failure_of_ours_is_promised() -> None:
    assert not any(500 in statuses_of(each) for each in OPERATIONS)
