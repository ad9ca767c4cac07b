"""Every call of openstacksdk's image layer but those about metadata definitions."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

DATA = b"all that an image needs" * 100


@dataclass(frozen=True, slots=True)
class Cloud:
    """The image layers of several users, and names."""

    layers: Mapping[str, Any]  # by the user's name
    project: str  # the stranger's
    image: str
    web: str  # a server of images
    directory: Path

    @property
    def admin(self) -> Any:
        """The administrator's."""
        return self.layers["admin"]

    @property
    def member(self) -> Any:
        """The one of the member, who makes the image."""
        return self.layers["member"]

    @property
    def stranger(self) -> Any:
        """The one of somebody of another project."""
        return self.layers["stranger"]

    def create(self, data: bytes | None = None, **properties: Any) -> Any:
        """Make an image."""
        described = {"disk_format": "raw", "container_format": "bare", "id": self.image}
        return self.member.create_image(
            data=data, **{"name": f"disk-{self.image}", **described, **properties}
        )

    def share(self) -> Any:
        """Share the image with the stranger."""
        return self.member.add_member(self.image, member_id=self.project)


Step: TypeAlias = Callable[[Cloud], Any]


def _file(cloud: Cloud) -> str:
    (cloud.directory / "sent").write_bytes(DATA)
    return str(cloud.directory / "sent")


def _streamed(cloud: Cloud) -> bytes:
    out = io.BytesIO()
    cloud.member.download_image(cloud.image, stream=True, output=out)
    return out.getvalue()


MADE: Step = lambda cloud: cloud.create()  # noqa: E731  # as the steps below
FULL: Step = lambda cloud: cloud.create(DATA)  # noqa: E731

CALLS: dict[str, tuple[Step, ...]] = {
    "create_image": (
        lambda cloud: cloud.member.create_image(
            f"disk-{cloud.image}",
            filename=_file(cloud),
            id=cloud.image,
            disk_format="raw",
            tags=["a"],
            min_disk=3,
        ),
        lambda cloud: cloud.create(),
    ),
    "upload_image": (
        lambda cloud: cloud.member.upload_image("bare", "raw", DATA, name="x", id=cloud.image),
    ),
    "download_image": (
        FULL,
        lambda cloud: cloud.member.download_image(cloud.image),
        lambda cloud: cloud.member.download_image(cloud.image, store_preferences=["slow", "fast"]),
        _streamed,
        lambda cloud: cloud.stranger.download_image(cloud.image),
    ),
    "get_image": (
        FULL,
        lambda cloud: cloud.member.get_image(cloud.image),
        lambda cloud: cloud.stranger.get_image(cloud.image),
    ),
    "find_image": (
        lambda cloud: cloud.create(name=cloud.image),
        lambda cloud: cloud.member.find_image(cloud.image),
        lambda cloud: cloud.stranger.find_image(cloud.image),
        lambda cloud: cloud.stranger.find_image(cloud.image, ignore_missing=False),
    ),
    "images": (
        lambda cloud: cloud.create(DATA, tags=[cloud.image]),
        lambda cloud: cloud.member.images(tag=cloud.image),
        lambda cloud: cloud.member.images(tag=cloud.image, status="queued"),
        lambda cloud: cloud.member.images(tag=cloud.image, sort="name:asc", limit=1),
        lambda cloud: cloud.stranger.images(tag=cloud.image, member_status="all"),
        lambda cloud: cloud.member.images(sort="nothing"),
    ),
    "update_image": (
        MADE,
        lambda cloud: cloud.member.update_image(cloud.image, name="new", min_ram=4, a="b"),
        lambda cloud: cloud.member.update_image(cloud.image, visibility="public"),
        lambda cloud: cloud.stranger.update_image(cloud.image, name="mine"),
    ),
    "update_image_properties": (
        MADE,
        lambda cloud: cloud.member.update_image_properties(
            cloud.member.get_image(cloud.image), meta={"a": "1"}, b="2"
        ),
    ),
    "delete_image": (
        FULL,
        lambda cloud: cloud.stranger.delete_image(cloud.image),
        lambda cloud: cloud.admin.delete_image(cloud.image, store="fast", ignore_missing=False),
        lambda cloud: cloud.member.delete_image(cloud.image),
        lambda cloud: cloud.member.delete_image(cloud.image, ignore_missing=False),
    ),
    "deactivate_image": (
        FULL,
        lambda cloud: cloud.member.deactivate_image(cloud.image),
        lambda cloud: cloud.member.download_image(cloud.image),
    ),
    "reactivate_image": (
        FULL,
        lambda cloud: cloud.member.deactivate_image(cloud.image),
        lambda cloud: cloud.stranger.reactivate_image(cloud.image),
        lambda cloud: cloud.member.reactivate_image(cloud.image),
    ),
    "add_tag": (MADE, lambda cloud: cloud.member.add_tag(cloud.image, "a b")),
    "remove_tag": (
        lambda cloud: cloud.create(tags=["a"]),
        lambda cloud: cloud.member.remove_tag(cloud.image, "a"),
        lambda cloud: cloud.member.remove_tag(cloud.image, "a"),
    ),
    "add_member": (MADE, Cloud.share, Cloud.share),
    "find_member": (
        MADE,
        Cloud.share,
        lambda cloud: cloud.member.find_member(cloud.project, cloud.image),
        lambda cloud: cloud.member.find_member("nobody", cloud.image),
    ),
    "get_member": (
        MADE,
        lambda cloud: cloud.member.get_member(cloud.project, cloud.image),
        Cloud.share,
        lambda cloud: cloud.stranger.get_member(cloud.project, cloud.image),
    ),
    "members": (MADE, Cloud.share, lambda cloud: cloud.member.members(cloud.image)),
    "update_member": (
        FULL,
        Cloud.share,
        lambda cloud: cloud.member.update_member(cloud.project, cloud.image, status="accepted"),
        lambda cloud: cloud.stranger.update_member(cloud.project, cloud.image, status="accepted"),
        lambda cloud: cloud.stranger.download_image(cloud.image),
    ),
    "remove_member": (
        MADE,
        Cloud.share,
        lambda cloud: cloud.member.remove_member(cloud.project, cloud.image),
        lambda cloud: cloud.member.remove_member(cloud.project, cloud.image, ignore_missing=False),
    ),
    "wait_for_status": (
        FULL,
        lambda cloud: cloud.member.wait_for_status(cloud.member.get_image(cloud.image), "active"),
    ),
    "wait_for_delete": (
        MADE,
        lambda cloud: cloud.member.wait_for_delete(cloud.member.get_image(cloud.image), wait=1),
    ),
    "stores": (
        lambda cloud: cloud.member.stores(),
        lambda cloud: [each.id for each in cloud.admin.stores(details=True)],
        lambda cloud: cloud.member.stores(details=True),
    ),
    "get_import_info": (lambda cloud: cloud.member.get_import_info(),),
    "stage_image": (
        MADE,
        lambda cloud: cloud.member.stage_image(cloud.image, data=DATA),
        lambda cloud: cloud.member.stage_image(cloud.image, data=DATA),
    ),
    "import_image": (
        MADE,
        lambda cloud: cloud.member.import_image(cloud.image),
        lambda cloud: cloud.member.stage_image(cloud.image, data=DATA),
        lambda cloud: cloud.member.import_image(cloud.image, stores=["fast", "slow"]),
    ),
    "image_tasks": (MADE, lambda cloud: cloud.member.image_tasks(cloud.image)),
    "create_task": (lambda cloud: cloud.member.create_task(type="import", input={}),),
    "tasks": (
        lambda cloud: cloud.member.tasks(),
        lambda cloud: cloud.admin.tasks(status="nothing"),
    ),
    "get_task": (lambda cloud: cloud.admin.get_task(cloud.image),),
    "wait_for_task": (lambda cloud: cloud.admin.wait_for_task(cloud.admin.get_task(cloud.image)),),
    "add_image_location": (
        MADE,
        lambda cloud: cloud.stranger.add_image_location(cloud.image, f"{cloud.web}/small.img"),
        lambda cloud: cloud.member.add_image_location(cloud.image, "ftp://127.0.0.1/x"),
        lambda cloud: cloud.member.add_image_location(cloud.image, f"{cloud.web}/small.img"),
    ),
    "image_locations": (MADE, lambda cloud: cloud.member.image_locations(cloud.image)),
    "queue_image": (FULL, lambda cloud: cloud.admin.queue_image(cloud.image)),
    "cache_delete_image": (FULL, lambda cloud: cloud.admin.cache_delete_image(cloud.image)),
    "clear_cache": (lambda cloud: cloud.admin.clear_cache("queue"),),
    "get_image_cache": (lambda cloud: type(cloud.admin.get_image_cache()).__name__,),
    "clean_cache": (lambda cloud: cloud.admin.clean_cache(),),
    "prune_cache": (lambda cloud: cloud.admin.prune_cache(),),
    "cached_image_nodes": (lambda cloud: cloud.member.cached_image_nodes(cloud.image),),
    "get_image_schema": (lambda cloud: cloud.member.get_image_schema().name,),
    "get_images_schema": (lambda cloud: cloud.member.get_images_schema().name,),
    "get_member_schema": (lambda cloud: cloud.member.get_member_schema().name,),
    "get_members_schema": (lambda cloud: cloud.member.get_members_schema().name,),
    "get_task_schema": (lambda cloud: cloud.member.get_task_schema().name,),
    "get_tasks_schema": (lambda cloud: cloud.member.get_tasks_schema().name,),
}
