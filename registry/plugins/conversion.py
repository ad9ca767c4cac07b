"""Turns images into the format that an operator wants, with qemu-img.

qemu-img opens what an image names (backing files, data files, extents): an image is looked at
first, by oslo.utils' inspectors and then by `qemu-img info`, and refused if it names anything.  What
comes out is looked at again, for formats can be hidden in one another.  The rules are Glance's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oslo_utils.imageutils.format_inspector import ImageFormatError

from registry.domain.errors import DataRefusedError, InvalidRequestError, LimitExceededError
from registry.domain.image import Image
from registry.inspection.formats import require_safety
from registry.inspection.options import InspectionSettings
from registry.inspection.recognition import recognise_file
from registry.plugins import qemu_img
from registry.plugins.failures import disk_failures


class Conversion:
    """Conversion as it is configured."""

    def __init__(
        self, output_format: str, inspection: InspectionSettings, image_size_cap: int
    ) -> None:
        self._output_format = output_format
        self._inspection = inspection
        self._image_size_cap = image_size_cap

    async def convert(self, source: Path, target: Path, image: Image) -> Mapping[str, Any]:
        """Write an image anew and return the fields that this changes, `size` among them.

        Without `size` nothing was written, for the image is in the right format, or is a CD.
        """
        claimed, wanted = image.disk_format, self._output_format
        recognised = await asyncio.to_thread(self._recognise, source)
        if recognised == "iso":
            if claimed == "iso":
                return {}
            raise InvalidRequestError("Image has disallowed configuration")
        if claimed is None or recognised != claimed:
            raise InvalidRequestError("Image format mismatch")
        virtual_size = self._sound(await qemu_img.describe(source, claimed), claimed)
        if claimed == wanted:
            return {"virtual_size": virtual_size}
        await qemu_img.convert(source, claimed, target, wanted)
        if await asyncio.to_thread(self._recognise, target) != wanted:
            raise InvalidRequestError("Converted image in unexpected format")
        with disk_failures():
            size = (await asyncio.to_thread(target.stat)).st_size
        return {
            "virtual_size": virtual_size,
            "disk_format": wanted,
            "container_format": "bare",
            "size": size,
        }

    def _recognise(self, path: Path) -> str:
        """Return the format of a file that is safe to open; a disk with partitions is raw."""
        try:
            with disk_failures():
                found = recognise_file(path)
            require_safety(found, self._inspection)
        except DataRefusedError:
            raise InvalidRequestError("Image has disallowed configuration") from None
        except ImageFormatError:
            raise InvalidRequestError("Image format detection failed") from None
        return "raw" if found.NAME == "gpt" else found.NAME

    def _sound(self, described: Any, claimed: str) -> int:
        """Return the size of a disk that names no other file."""
        if described.get("format") != claimed:
            raise InvalidRequestError("Image metadata disagrees about format")
        if "backing-filename" in described:
            raise InvalidRequestError("QCOW images with backing files are not allowed")
        own = described.get("format-specific", {}).get("data", {})
        if own.get("data-file") is not None:
            raise InvalidRequestError("QCOW images with data-file set are not allowed")
        if claimed == "vmdk":
            self._require_vmdk(own.get("create-type"))
        size = int(described.get("virtual-size", 0))
        if size > self._image_size_cap:
            raise LimitExceededError(
                f"The disk of the image is too large: more than {self._image_size_cap} bytes"
            )
        return size

    def _require_vmdk(self, create_type: str | None) -> None:
        if not create_type:
            raise InvalidRequestError("Unable to determine VMDK create-type")
        if not self._inspection.vmdk_allowed_types:
            raise InvalidRequestError("Image is a VMDK, but no VMDK createType is specified")
        if create_type not in self._inspection.vmdk_allowed_types:
            raise InvalidRequestError("Invalid VMDK create-type specified")
