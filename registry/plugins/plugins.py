"""What an operator lets be done to images on their way through an import.

Whatever works on the data leaves what was staged alone, so that a job that died begins again from
it: it writes another file beside it, which is gone when the import has ended, however it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from registry.domain.image import Image
from registry.inspection.options import InspectionSettings
from registry.plugins.conversion import Conversion
from registry.plugins.decompression import decompress
from registry.plugins.options import PluginSettings

_RESERVED = "os_glance"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be stored, and what is to be said of it on the record of the image."""

    path: Path
    fields: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


class Plugins:
    """The plugins that are configured."""

    def __init__(
        self, settings: PluginSettings, inspection: InspectionSettings, image_size_cap: int
    ) -> None:
        self._settings = settings
        self._image_size_cap = image_size_cap
        self._conversion = Conversion(settings.output_format, inspection, image_size_cap)

    @property
    def touches_data(self) -> bool:
        """Whether any of them reads the data: if not, it need not be staged for them."""
        return bool({"image_decompression", "image_conversion"} & set(self._settings.plugins))

    @asynccontextmanager
    async def prepared(
        self, staged: Path, image: Image, roles: frozenset[str]
    ) -> AsyncIterator[Prepared]:
        """Do what is configured to an image; what is given exists as long as the context lasts.

        `roles` are those of the caller who imports.  The record is not changed.  Failures are
        `RegistryError`: `LimitExceededError` for what is too large, here or for images.
        """
        try:
            yield await self._prepare(staged, image, roles)
        finally:
            await asyncio.to_thread(_remove, leftovers(staged))

    async def _prepare(self, staged: Path, image: Image, roles: frozenset[str]) -> Prepared:
        done = Prepared(staged)
        for name in self._settings.plugins:
            now = replace(image, **done.fields)
            if name == "inject_image_metadata":
                done = replace(done, properties=self._injected(roles))
                continue
            if name == "image_decompression":
                path = _decompressed(staged)
                fields = await decompress(done.path, path, now, self._image_size_cap)
            elif name == "image_conversion":
                path = _converted(staged)
                fields = await self._conversion.convert(done.path, path, now)
            else:
                continue
            # Who writes another file tells its size.
            written = path if "size" in fields else done.path
            done = Prepared(written, {**done.fields, **fields}, done.properties)
        return done

    def _injected(self, roles: frozenset[str]) -> Mapping[str, str]:
        if roles & self._settings.ignore_user_roles:
            return {}
        given = self._settings.inject.items()
        return {name: value for name, value in given if not name.startswith(_RESERVED)}


def leftovers(staged: Path) -> tuple[Path, ...]:
    """Return where files may be that a killed process left beside staged data."""
    return _decompressed(staged), _converted(staged)


def _decompressed(staged: Path) -> Path:
    return staged.with_name(f"{staged.name}.decompressed")


def _converted(staged: Path) -> Path:
    return staged.with_name(f"{staged.name}.converted")


def _remove(paths: tuple[Path, ...]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
