"""Whether the data of an image is of the format that its record says, and is safe to open.

The formats are recognised by oslo.utils, as in Glance; what follows from what was recognised is
`glance.location`'s too, but for three things.  The data is refused as soon as that is certain, and
not after a tebibyte of it.  An inspector has no opinion where Glance lets one pass everything
(oslo.utils' for VMDK fails over data that begins with 512 characters of ASCII).  And a disk larger
than a database can count is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from oslo_utils.imageutils.format_inspector import (
    ALL_FORMATS,
    FileInspector,
    ImageFormatError,
    SafetyCheckFailed,
)

from registry.domain.errors import DataRefusedError
from registry.inspection.options import InspectionSettings
from registry.inspection.recognition import Recognition, only

LOG = logging.getLogger(__name__)

VIRTUAL_SIZE_MAX: Final = (1 << 63) - 1  # of a column
# Their inspectors take the size of a disk from how much data there was.
_COUNTING: Final = frozenset({"raw", "gpt", "qed", "luks"})


class FormatInspection:
    """Looks at the data of one image as it passes, as long as there is something to learn.

    Nothing blocks: all of it takes a few milliseconds at most.
    """

    def __init__(self, disk_format: str, settings: InspectionSettings) -> None:
        self._disk_format = disk_format
        self._settings = settings
        self._recognition = Recognition()
        self._size = 0
        self._recognised: FileInspector | None = None

    async def update(self, data: bytes) -> None:
        """Look at the next bytes; `DataRefusedError`."""
        self._size += len(data)
        if self._recognition.is_certain:
            return
        self._recognition.see(data)
        if self._recognition.is_certain:
            self._judge()

    async def finish(self) -> Mapping[str, object]:
        """Return the image's `virtual_size`, where it is known; `DataRefusedError`."""
        if not self._recognition.is_certain:
            self._recognition.end()
            self._judge()
        virtual_size = self._virtual_size()
        return {"virtual_size": virtual_size} if virtual_size > 0 else {}

    def _judge(self) -> None:
        try:
            self._recognised = self._matching()
            require_safety(self._recognised, self._settings)
        except ImageFormatError as error:
            if self._settings.require_image_format_match:
                raise DataRefusedError(str(error)) from None
            LOG.warning("the data of an image is accepted nevertheless: %s", error)
        except DataRefusedError:
            raise
        except Exception as error:
            LOG.warning("the format of an image cannot be told", exc_info=True)
            if self._settings.require_image_format_match:
                raise DataRefusedError("Image format inspection failed") from error

    def _matching(self) -> FileInspector:
        """Return what the data is; `ImageFormatError` if the image may not be that."""
        claimed = self._disk_format
        known = self._recognition.found()
        if known.keys() == {"iso", "gpt"} and claimed != "raw":
            del known["gpt"]  # a CD that boots from disks too
        found = only(known)
        name = found.NAME
        if name == claimed:
            if found.virtual_size > VIRTUAL_SIZE_MAX:
                raise DataRefusedError("The disk is larger than any.")
        elif claimed != "raw" and (name != "raw" or claimed in ALL_FORMATS):
            raise ImageFormatError(f"Image disk_format {claimed} does not match stream data {name}")
        return found

    def _virtual_size(self) -> int:
        """Return the bytes of the disk; 0 if nobody knows."""
        found = self._recognised
        if found and self._disk_format == found.NAME:
            unseen = self._size - found.actual_size if found.NAME in _COUNTING else 0
            return found.virtual_size + unseen
        # Any format may be taken as it is, byte for byte.
        return self._size if found and self._disk_format == "raw" else 0


def require_safety(found: FileInspector, settings: InspectionSettings) -> None:
    """Refuse what is dangerous to open: `DataRefusedError`; `ImageFormatError` if it is damaged."""
    try:
        found.safety_check()
    except SafetyCheckFailed as error:
        if found.NAME == "gpt" and error.failures.keys() <= settings.gpt_safety_checks_nonfatal:
            LOG.warning("the partitions of an image are accepted nevertheless: %s", error)
            return
        LOG.info("an image of format %s is refused: %s", found, error)
        raise DataRefusedError("Image failed safety checks") from None
