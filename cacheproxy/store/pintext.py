"""What the file of pinned images says.  Pure.

    cacheproxy pins 1, 2 images
    a1b2c3d4 2026-01-31T12:00:00Z 6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0001
    0badcafe 2026-02-01T07:30:00Z 6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0002

A line tells since when an image is pinned; the CRC-32 of what follows it stands in front, and the
header counts the lines, so that no pin changes or vanishes without anybody's notice.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

VERSION = 1
IMAGES_MAX = 4096

_IMAGE_BYTES_MAX = 255
_IMAGE = re.compile(rf"[!-~]{{1,{_IMAGE_BYTES_MAX}}}")  # one word, as the admin socket takes it
_HEADER = re.compile(rb"cacheproxy pins ([0-9]{1,9}), ([0-9]{1,9}) images")
_LINE = re.compile(rb"([0-9a-f]{8}) (([0-9TZ:-]{20}) ([!-~]{1,%d}))" % _IMAGE_BYTES_MAX)
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_LINE_BYTES = len("a1b2c3d4 2026-01-31T12:00:00Z \n")  # without the image
_HEADER_BYTES_MAX = 64

BYTES_MAX = _HEADER_BYTES_MAX + IMAGES_MAX * (_LINE_BYTES + _IMAGE_BYTES_MAX)  # of a whole file

Pinned = Mapping[str, int]  # image id → since when: seconds since the epoch


class PinsDamagedError(Exception):
    """This is no file of pins, or none of a version that is known."""


class Reading(NamedTuple):
    """What a file says."""

    images: dict[str, int]
    bad_lines: list[int]  # their numbers, as an editor counts
    missing: int  # pins that the file should have and has not, whole lines and bad ones


def check_image(image_id: str) -> None:
    """Raise `ValueError` for what cannot be written down."""
    if not _IMAGE.fullmatch(image_id):
        raise ValueError("a name that no image has")


def packed_bytes(images: Pinned) -> int:
    """Return the length of what `pack` returns, faster."""
    return len(_header(images)) + sum(_LINE_BYTES + len(image_id) for image_id in images)


def pack(images: Pinned) -> bytes:
    """Write them down."""
    return _header(images) + b"".join(_line(each, since) for each, since in images.items())


def unpack(text: bytes) -> Reading:
    """Read what `pack` wrote, and of a damaged text what is sound."""
    header, *lines = text.split(b"\n")
    match = _HEADER.fullmatch(header)
    if match is None:
        raise PinsDamagedError("it does not begin as one")
    if int(match[1]) != VERSION:
        raise PinsDamagedError(f"it is of version {int(match[1])}, this program knows {VERSION}")
    if lines and not lines[-1]:
        lines.pop()  # behind the last line's end
    images: dict[str, int] = {}
    bad: list[int] = []
    for number, line in enumerate(lines, 2):
        pin = _pin(line)
        if pin is None:
            bad.append(number)
        else:
            images[pin[0]] = pin[1]
    return Reading(images, bad, max(0, int(match[2]) - len(images)))


def _header(images: Pinned) -> bytes:
    return b"cacheproxy pins %d, %d images\n" % (VERSION, len(images))


def _line(image_id: str, since: int) -> bytes:
    told = f"{datetime.fromtimestamp(since, UTC).strftime(_TIME)} {image_id}".encode()
    return b"%08x %s\n" % (zlib.crc32(told), told)


def _pin(line: bytes) -> tuple[str, int] | None:
    match = _LINE.fullmatch(line)
    if match is None or zlib.crc32(match[2]) != int(match[1], 16):
        return None
    try:
        since = datetime.strptime(match[3].decode(), _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return match[4].decode(), int(since.timestamp())
