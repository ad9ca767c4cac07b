"""The real services answer as our reference says: what the other tests here build on."""

from __future__ import annotations

import secrets

from harness.glance import FileServer, Glance
from harness.images_api import ImagesApi
from harness.keystone import READER, STRANGER, Keystone

UNSATISFIABLE = "9223372036854775807-"


def test_glance_with_keystone(glance: Glance, keystone: Keystone) -> None:
    data = secrets.token_bytes(100_000)
    mine = ImagesApi(glance.url, glance.headers)
    image = mine.add(data)
    assert mine.download(image).body == data
    answer = mine.download(image, "10-19")
    assert (answer.status, answer.body) == (206, data[10:20])
    assert mine.download(image, UNSATISFIABLE).status == 416
    for user, status in ((READER, 403), (STRANGER, 404)):
        theirs = ImagesApi(glance.url, {"X-Auth-Token": keystone.token(user)})
        assert theirs.download(image, UNSATISFIABLE).status == status
    assert ImagesApi(glance.url).download(image, UNSATISFIABLE).status == 401


def test_glance_that_is_open(glance_open: Glance) -> None:
    data = secrets.token_bytes(100_000)
    api = ImagesApi(glance_open.url)
    image = api.add(data)
    assert api.download(image).body == data
    assert api.download(image, "-5").body == data[-5:]


def test_a_source_without_ranges(glance_open: Glance, file_server: FileServer) -> None:
    data = secrets.token_bytes(100_000)
    (file_server.directory / "image").write_bytes(data)
    api = ImagesApi(glance_open.url)
    image = api.add_located(f"{file_server.url}/image", data)
    assert api.download(image).body == data
    assert api.download(image, "0-").status == 400
    assert api.download(image, UNSATISFIABLE).status == 416
    assert api.show(image)["os_hash_algo"] == "sha512"
