"""Tells others what imports do to their images, in Glance's steps, behind what made it so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from registry.domain.image import Image
from registry.domain.notices import Notifier, data_notice, image_notice
from registry.domain.status import Status
from registry.imports.orders import Order
from registry.service.news import TaskNews


class ImportNews:
    """Tells of images where anybody listens, and of the tasks by `TaskNews`."""

    def __init__(self, tasks: TaskNews, notifier: Notifier) -> None:
        self._tasks = tasks
        self._notifier = notifier

    async def begun(self, order: Order, image: Image) -> None:
        """Tell that an import is being done, of an image that it holds."""
        await self._tasks.begun(order.task_id)
        self.changed(image)
        if order.is_copy:
            self.changed(image)  # Glance tells when it has staged the data

    def changed(self, image: Image) -> None:
        """Tell how an image is now."""
        self._notifier.emit("image.update", image_notice(image))

    @contextmanager
    def coming(self, image: Image, store: str | None) -> Iterator[None]:
        """Tell that data comes into a store, as clients call it; and if it has not come, why."""
        self._notifier.emit("image.prepare", data_notice(image, store))
        try:
            yield
        except Exception as error:
            self._failed(image, error)
            raise

    def refused(self, image: Image, store: str | None, error: Exception) -> None:
        """Tell that data was to come into a store that does not take it."""
        self._notifier.emit("image.prepare", data_notice(image, store))
        self._failed(image, error)

    def _failed(self, image: Image, error: Exception) -> None:
        why = str(error) or type(error).__name__
        text = f"Failed to upload image data for image {image.id}: {why}"
        self._notifier.emit("image.upload", text, "error")

    def came(self, before: Image, image: Image) -> None:
        """Tell that data has come; of the marks of the import Glance tells later than of the data."""
        whole = replace(image, properties=before.properties)
        self._notifier.emit("image.upload", data_notice(whole))
        if image.status is Status.ACTIVE and before.status is not Status.ACTIVE:
            self._notifier.emit("image.activate", image_notice(whole))
        self.changed(image)

    async def ended(self, task_id: str) -> None:
        """Tell how an import has ended."""
        await self._tasks.ended(task_id)
