"""What the data of images is taken for, and what is learned of it in pieces of any size."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping

import pytest
from oslo_utils.imageutils.format_inspector import ALL_FORMATS, FileInspector, InspectWrapper

from backends.memory import MemoryStore
from harness.disguises import BY_HAND, GPT, made
from registry.db.database import Database
from registry.db.images import get_image
from registry.domain.errors import DataRefusedError
from registry.domain.identity import EVERYBODY
from registry.domain.status import Status
from registry.inspection import formats
from registry.inspection.formats import FormatInspection
from registry.inspection.options import InspectionSettings
from registry.inspection.recognition import CHUNK_BYTES
from registry.service.images import Images
from registry.service.uploads import Upload, Uploads

STRICT = InspectionSettings()
LAX = InspectionSettings(require_image_format_match=False)


@pytest.fixture(scope="module")
def images_made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return dict(made(tmp_path_factory.mktemp("disguises")))


async def inspect(
    data: bytes,
    disk_format: str,
    settings: InspectionSettings = STRICT,
    piece: int = 1 << 20,
) -> Mapping[str, object]:
    inspection = FormatInspection(disk_format, settings)
    for start in range(0, len(data), piece):
        await inspection.update(data[start : start + piece])
    return await inspection.finish()


async def told(data: bytes, disk_format: str, piece: int) -> Mapping[str, object] | str:
    try:
        return await inspect(data, disk_format, piece=piece)
    except DataRefusedError as error:
        return str(error)


async def test_the_pieces_do_not_matter(images_made: dict[str, bytes]) -> None:
    for name, data in images_made.items():
        family = name.partition("-")[0]
        answers = [await told(data, family, piece) for piece in (1000, 65_536, 99_999, 1 << 30)]
        assert answers == answers[:1] * 4, name


def stepwise(data: bytes) -> FileInspector | None:
    wrapper = InspectWrapper(io.BytesIO(data))
    while wrapper.read(65_536):
        pass
    wrapper.close()
    return wrapper.format


@pytest.mark.parametrize("name", ["qcow2", "vdi", "vhd", "vhdx", "iso", "vmdk-footer"])
async def test_as_much_is_learned_as_from_all_of_it(
    images_made: dict[str, bytes], name: str
) -> None:
    data = images_made[name]
    found = stepwise(data)
    assert found is not None
    assert await inspect(data, found.NAME) == {"virtual_size": found.virtual_size}


@pytest.mark.parametrize("name", ["random", "gpt", "luks"])
async def test_sizes_that_are_counted(name: str) -> None:
    data = BY_HAND[name] + bytes(3 * CHUNK_BYTES)
    found = stepwise(data)
    assert found is not None
    assert await inspect(data, found.NAME) == {"virtual_size": found.virtual_size}


def test_which_sizes_are_counted() -> None:
    # A size that grows with more data of no meaning is a count.
    grown = set()
    heads = {"gpt": GPT, "qed": BY_HAND["qed"], "luks": BY_HAND["luks"]}
    for name, make in ALL_FORMATS.items():
        short, long = make(), make()
        head = heads.get(name, b"").ljust(CHUNK_BYTES, b"\0")
        for inspector, data in ((short, head), (long, head + b"\0")):
            try:
                inspector.eat_chunk(data)
            except Exception:  # noqa: BLE001  # it is not its format
                continue
        if short.virtual_size != long.virtual_size:
            grown.add(name)
    assert grown == formats._COUNTING


@pytest.mark.parametrize(
    ("name", "disk_format"),
    [("random", "qcow2"), ("qcow2-iso", "iso"), ("text-and-more", "qcow2"), ("gpt", "ami")],
)
async def test_a_mismatch_may_be_allowed(name: str, disk_format: str) -> None:
    with pytest.raises(DataRefusedError):
        await inspect(BY_HAND[name], disk_format)
    assert await inspect(BY_HAND[name], disk_format, LAX) == {}


async def test_what_is_dangerous_may_not(images_made: dict[str, bytes]) -> None:
    for name in ("qcow2-backed", "qcow2-data-file", "vmdk-path"):
        for disk_format in (name.partition("-")[0], "raw"):
            with pytest.raises(DataRefusedError, match="Image failed safety checks"):
                await inspect(images_made[name], disk_format, LAX)


async def test_partitions_that_are_not_by_the_book_may_be_allowed() -> None:
    with pytest.raises(DataRefusedError, match="Image failed safety checks"):
        await inspect(BY_HAND["mbr-boot"], "raw")
    tolerant = InspectionSettings(gpt_safety_checks_nonfatal=frozenset({"mbr"}))
    size = len(BY_HAND["mbr-boot"])
    assert await inspect(BY_HAND["mbr-boot"], "raw", tolerant) == {"virtual_size": size}
    with pytest.raises(DataRefusedError):
        await inspect(BY_HAND["luks-2"], "raw", tolerant)


async def test_an_inspector_that_fails_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: FileInspector) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(ALL_FORMATS["vdi"], "virtual_size", property(fail))
    vdi = bytes(0x40) + (0xBEDA107F).to_bytes(4, "little") + bytes(1000)
    with pytest.raises(DataRefusedError, match="Image format inspection failed"):
        await inspect(vdi, "vdi")


async def endless(head: bytes) -> AsyncIterator[bytes]:
    yield head
    while True:
        await asyncio.sleep(0)
        yield bytes(CHUNK_BYTES)


async def test_a_refusal_comes_before_the_end_of_the_data(
    uploads: Uploads, images: Images, database: Database, store: MemoryStore
) -> None:
    described = {"container_format": "bare", "disk_format": "qcow2"}
    image_id = str((await images.create(EVERYBODY, described))["id"])
    with pytest.raises(DataRefusedError, match="qcow2 does not match stream data raw"):
        await uploads.upload(EVERYBODY, image_id, Upload(None, None), endless(bytes(10)))
    async with database.read() as connection:
        image = await get_image(connection, image_id)
    assert image is not None
    assert (image.status, image.size, image.virtual_size) == (Status.QUEUED, None, None)
    assert (image.locations, store.names, store.used_bytes) == ((), frozenset(), 0)


async def test_the_size_of_the_disk_is_on_the_record(
    uploads: Uploads, images: Images, images_made: dict[str, bytes]
) -> None:
    described = {"container_format": "bare", "disk_format": "qcow2"}
    image_id = str((await images.create(EVERYBODY, described))["id"])

    async def body() -> AsyncIterator[bytes]:
        yield images_made["qcow2-empty"]

    await uploads.upload(EVERYBODY, image_id, Upload(None, None), body())
    image = await images.show(EVERYBODY, image_id)
    assert image["size"] == len(images_made["qcow2-empty"])
    assert image["virtual_size"] == 1 << 20
