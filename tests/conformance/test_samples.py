"""Configurations that operators have, used to the letter: only addresses and passwords are others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.swift import Container
from harness.catalog import Catalog, running_catalog
from harness.images import MIB, random_bytes
from harness.images_api import ImagesApi
from harness.keystone import GLANCE
from harness.swift import Swift

SAMPLES = Path(__file__).parents[1] / "samples"
DATA = random_bytes(3 * MIB + 17)
SPANS = {"0-0": slice(0, 1), "1048575-2097152": slice(1048575, 2097153), "-5": slice(-5, None)}


def sample(name: str, directory: Path, **replaced: str) -> Path:
    """Copy a sample; each of `replaced` is what stands after that option there, and instead."""
    text = (SAMPLES / name).read_text()
    for option, value in replaced.items():
        lines = [line for line in text.splitlines() if line.startswith(f"{option} = ")]
        assert len(lines) == 1, option
        text = text.replace(lines[0], f"{option} = {value}")
    file = directory / name
    file.write_text(text)
    return file


def check_reads(api: ImagesApi, image: str) -> None:
    assert api.download(image).expect(200).body == DATA
    for span, expected in SPANS.items():
        answer = api.download(image, span).expect(206)
        assert answer.body == DATA[expected]
        assert answer.headers["content-range"].endswith(f"/{len(DATA)}")


def test_files(tmp_path: Path) -> None:
    images = tmp_path / "images"
    stores = sample("glance-api-file.conf", tmp_path, filesystem_store_datadir=f"{images}/")
    with running_catalog(tmp_path, "", stores) as catalog:
        api = ImagesApi(catalog.url)
        image = api.add(DATA)
        check_reads(api, image)
        assert (images / image).read_bytes() == DATA
        api.delete(image)
        assert list(images.iterdir()) == []
    assert "does not know" not in catalog.program.tail()


@pytest.fixture
def container(swift: Swift) -> Iterator[Container]:
    """Give the samples' container, which is not there before and after."""
    container = Container(swift, "glance_images")
    container.remove()
    yield container
    container.remove()


def swift_sample(swift: Swift, directory: Path) -> Path:
    references = sample(
        "glance-store.conf", directory, auth_address=swift.keystone.url, key=GLANCE.password
    )
    return sample(
        "glance-api-swift.conf",
        directory,
        swift_store_auth_address=swift.keystone.url,
        swift_store_config_file=str(references),
    )


def shown(catalog: Catalog) -> str:
    """Return the catalog's log, where no password may be."""
    log = catalog.program.log.read_text()
    assert "password123" not in log
    return log


def test_swift(swift: Swift, container: Container, tmp_path: Path) -> None:
    with running_catalog(tmp_path, "", swift_sample(swift, tmp_path)) as catalog:
        api = ImagesApi(catalog.url)
        image = api.add(DATA)
        check_reads(api, image)
        assert container.names() == {image}
        assert container.ask("GET", f"/{image}").expect(200).body == DATA
        api.delete(image)
        assert container.names() == set()
    assert "does not know" not in shown(catalog)


def test_swift_in_segments(swift: Swift, container: Container, tmp_path: Path) -> None:
    """The same, but that an image of three megabytes is a large one."""
    lower = "[glance_store]\nswift_store_large_object_size = 2\n"
    lower += "swift_store_large_object_chunk_size = 1\n"
    more = "[DEFAULT]\nshow_image_direct_url = True\n" + lower
    with running_catalog(tmp_path, more, swift_sample(swift, tmp_path)) as catalog:
        api = ImagesApi(catalog.url)
        image = api.add(DATA)
        check_reads(api, image)
        manifest = container.ask("HEAD", f"/{image}").expect(200)
        prefix = manifest.headers["x-object-manifest"].removeprefix("glance_images/")
        assert prefix.startswith(f"{image}-")
        numbers = {name.removeprefix(prefix) for name in container.names() - {image}}
        assert numbers == {"00001", "00002", "00003", "00004"}
        direct = f"swift+config://swift_image_store/glance_images/{image}"
        assert api.show(image)["direct_url"] == direct
        unsized = api.create()
        api.upload(unsized, iter([DATA]))
        check_reads(api, unsized)
        assert {name[: len(image)] for name in container.names()} == {image, unsized}
        for each in (image, unsized):
            api.delete(each)
        assert container.names() == set()
    assert "does not know" not in shown(catalog)
