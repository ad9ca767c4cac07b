"""Images of many kinds, said to be of each format, to the real Glance and to our catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.catalog import STORES_OF_GLANCE, WITH_KEYSTONE, running_catalog
from harness.disguises import made
from harness.glance import Glance, running_glance
from harness.images_api import ImagesApi
from harness.keystone import Keystone

EVERY_FORMAT = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop")
OCTETS = {"Content-Type": "application/octet-stream", "Accept": "application/json"}


def words(told: str) -> tuple[str, ...]:
    """Return the words of a refusal in one order, for Glance's are, in part, in any."""
    return tuple(sorted(told.replace(",", " ").split()))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an image with this data."""

    status: int
    words: tuple[str, ...] = ()  # of a refusal
    virtual_size: int | None = None


LAX = """
[image_format]
require_image_format_match = false
gpt_safety_checks_nonfatal = mbr
"""

# What we mean to do otherwise, and why: (Glance's, ours), by the data and what it is said to be.
INTENDED = {
    # Beyond what databases count: Glance fails, and the image stays in saving.
    ("qcow2-countless", "qcow2"): (
        Outcome(500),
        Outcome(415, words("The disk is larger than any.")),
    ),
    # Glance counts up to where its inspector for VHDX gave up.
    ("vhdx-damaged", "raw"): (Outcome(204, (), 262144), Outcome(204, (), 400008)),
    # Glance's inspection fails over it, and then lets it pass, whatever it is said to be.
    **{
        ("text-and-more", disk_format): (
            Outcome(204),
            Outcome(204, (), 100_600)
            if disk_format == "raw"
            else Outcome(
                415, words(f"Image disk_format {disk_format} does not match stream data raw")
            ),
        )
        for disk_format in ("raw", "vhd", "vhdx", "vmdk", "qcow2", "vdi", "iso")
    },
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ImagesApi, Path]]:
    """Run our catalog with the stores of Glance; give the files of one too."""
    directory = tmp_path_factory.mktemp("catalog")
    with running_catalog(directory, STORES_OF_GLANCE.format(directory=directory)) as catalog:
        yield ImagesApi(catalog.url), directory / "fast"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return dict(made(tmp_path_factory.mktemp("disguises")))


def outcome(api: ImagesApi, data: bytes, **formats: str) -> Outcome:
    image = api.create(**formats)
    answer = api.call("PUT", f"/{image}/file", headers=OCTETS, body=data)
    if answer.status == 500:
        return Outcome(500)
    record = api.show(image)
    api.delete(image)
    if answer.status == 204:
        assert (record["status"], record["size"]) == ("active", len(data))
        return Outcome(204, (), record["virtual_size"])
    assert (record["status"], record["size"]) == ("queued", None)
    document = answer.json()
    told = document.get("error", document)["message"].splitlines()[-1]
    return Outcome(answer.status, words(told), record["virtual_size"])


def differences(
    glance: ImagesApi, ours: ImagesApi, cases: Iterable[tuple[str, bytes, str]], container: str
) -> dict[tuple[str, str], tuple[Outcome, Outcome]]:
    found = {}
    for name, data, disk_format in cases:
        formats = {"disk_format": disk_format, "container_format": container}
        outcomes = outcome(glance, data, **formats), outcome(ours, data, **formats)
        if outcomes[0] != outcomes[1]:
            found[name, disk_format] = outcomes
    return found


@pytest.fixture(scope="module")
def lax(
    keystone: Keystone, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ImagesApi, ImagesApi]]:
    """Run both with rules that let more pass, Glance first."""
    directory = tmp_path_factory.mktemp("lax")
    more = WITH_KEYSTONE.format(keystone=keystone.url) + LAX
    with (
        running_glance(tmp_path_factory.mktemp("lax-glance"), keystone, LAX) as glance,
        running_catalog(directory, more) as catalog,
    ):
        yield ImagesApi(glance.url, glance.headers), ImagesApi(catalog.url, glance.headers)


def test_the_same_is_let_pass(lax: tuple[ImagesApi, ImagesApi], images: dict[str, bytes]) -> None:
    cases = [
        (name, images[name], disk_format)
        for name, disk_format in (
            *(("random", "qcow2"), ("qcow2", "vmdk"), ("qcow2-backed", "qcow2")),
            *(("qcow2-backed", "vmdk"), ("qcow2-iso", "iso"), ("qcow2-mbr", "raw")),
            *(("mbr-boot", "raw"), ("mbr-boot", "ami"), ("gpt-chs", "raw"), ("luks-2", "raw")),
            *(("vhdx-cut", "vhdx"), ("vhdx-far", "vhdx"), ("vmdk-cut", "vmdk")),
            *(("vmdk-unknown", "vmdk"), ("vmdk-footer-other", "vmdk"), ("qcow2", "raw")),
        )
    ]
    assert differences(*lax, cases, "bare") == {}


def likely(name: str) -> set[str]:
    """Return what data of this name may be said to be."""
    family = name.partition("-")[0]
    return {"raw", family if family in EVERY_FORMAT else "qcow2"}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_same_images_are_refused(
    glance_open: Glance, ours: tuple[ImagesApi, Path], images: dict[str, bytes], full: bool
) -> None:
    cases = [
        (name, data, disk_format)
        for name, data in images.items()
        for disk_format in EVERY_FORMAT
        if full or disk_format in likely(name)
    ]
    catalog, files = ours
    found = differences(ImagesApi(glance_open.url), catalog, cases, "bare")
    asked = {(name, disk_format) for name, _, disk_format in cases}
    assert found == {case: both for case, both in INTENDED.items() if case in asked}
    assert [path for path in files.rglob("*") if path.is_file()] == []


def test_what_is_in_a_container_is_not_looked_at(
    glance_open: Glance, ours: tuple[ImagesApi, Path], images: dict[str, bytes]
) -> None:
    cases = [(name, images[name], "raw") for name in ("qcow2-backed", "mbr-boot", "random")]
    cases.append(("random", images["random"], "qcow2"))
    assert differences(ImagesApi(glance_open.url), ours[0], cases, "ovf") == {}
    sound = [
        outcome(ours[0], data, disk_format="raw", container_format="ovf") for _, data, _ in cases
    ]
    assert sound == [Outcome(204)] * len(cases)
