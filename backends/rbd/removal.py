"""Removing images of RBD.  All of it blocks."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import Any

import rados
import rbd

from backends.errors import InUseError
from backends.rbd.location import Address

_log = logging.getLogger(__name__)


def has_image(pool: rados.Ioctx, name: str) -> bool:
    """Look for an image."""
    try:
        rbd.Image(pool, name, read_only=True).close()
    except rbd.ImageNotFound:
        return False
    return True


def remove(pool: rados.Ioctx, address: Address, beat: Callable[[], None]) -> None:
    """Remove an image, and the snapshot that Glance made of it; `beat` is called as it goes on.

    InUseError, and all is as it was, where clones of the snapshot exist or somebody has the image
    open for writing.  An image with other snapshots goes to the trash, where their clones keep it.
    """
    removed = None
    if address.snapshot is not None and _remove_snapshot(pool, address.image, address.snapshot):
        removed = address.snapshot
    try:
        try:
            _remove_image(pool, address.image, beat)
        except rbd.ImageHasSnapshots:
            rbd.RBD().trash_move(pool, address.image)
            _log.warning("%s has other snapshots: it is in the trash of its pool", address.image)
    except rbd.ImageBusy:
        if removed is not None:
            _restore_snapshot(pool, address.image, removed)
        raise InUseError(f"{address.image}: somebody uses the image") from None


def require_unused(pool: rados.Ioctx, address: Address) -> None:
    """Raise InUseError where `remove` would now."""
    with rbd.Image(pool, address.image, read_only=True) as image:
        if list(image.watchers_list()):  # of whom a reader is none
            raise InUseError(f"{address.image}: somebody has the image open")
        if address.snapshot is not None and _has_clones(pool, image, address.snapshot):
            raise InUseError(f"{address.image}: its snapshot has clones")


def remove_whole(
    pool: rados.Ioctx, name: str, identity: str | None, beat: Callable[[], None]
) -> None:
    """Remove an image with all of its snapshots, if it is the one with this id (None: any).

    InUseError, and its snapshots stay, where somebody has it open for writing.
    """
    try:
        with rbd.Image(pool, name) as image:
            if identity not in (None, image.id()):
                return
            if _others_have_it_open(image):
                raise InUseError(f"{name}: somebody has the image open")
            for snapshot in list(image.list_snaps()):
                if image.is_protected_snap(snapshot["name"]):
                    image.unprotect_snap(snapshot["name"])
                image.remove_snap(snapshot["name"])
        _remove_image(pool, name, beat)
    except rbd.ImageNotFound:
        return


def _remove_image(pool: rados.Ioctx, name: str, beat: Callable[[], None]) -> None:
    def progress(_done: int, _total: int) -> int:
        beat()
        return 0

    rbd.RBD().remove(pool, name, progress)


def _remove_snapshot(pool: rados.Ioctx, name: str, snapshot: str) -> bool:
    """Remove a snapshot; False if there was none, as of an image that was never finished."""
    with rbd.Image(pool, name) as image:
        if _others_have_it_open(image):
            raise InUseError(f"{name}: somebody has the image open")
        try:
            if image.is_protected_snap(snapshot):
                image.unprotect_snap(snapshot)
            image.remove_snap(snapshot)
        except rbd.ImageBusy:
            raise InUseError(f"{name}: its snapshot has clones") from None
        except rbd.ImageNotFound:
            _log.warning("%s: had no snapshot %s", name, snapshot)
            return False
    return True


def _restore_snapshot(pool: rados.Ioctx, name: str, snapshot: str) -> None:
    with rbd.Image(pool, name) as image:
        image.create_snap(snapshot)
        image.protect_snap(snapshot)


def _others_have_it_open(image: Any) -> bool:
    """Tell whether anyone but us has an image open for writing."""
    return len(list(image.watchers_list())) > 1


def _has_clones(pool: rados.Ioctx, image: Any, snapshot: str) -> bool:
    """Tell whether a snapshot has clones that cannot be without it: those of the first format."""
    if image.old_format():
        return False
    try:
        number = int(image.snap_get_id(snapshot))
    except rbd.ImageNotFound:
        return False
    image.set_snap(snapshot)
    return len(list(image.list_children2())) > _independent(pool, image.id(), number)


def _independent(pool: rados.Ioctx, identity: str, snapshot: int) -> int:
    """Count a snapshot's clones of the second format, which keep what they need by themselves."""
    packed = struct.pack("<Q", snapshot)
    try:
        _, told = pool.execute(f"rbd_header.{identity}", "rbd", "children_list", packed)
    except rados.ObjectNotFound:
        return 0
    return int(struct.unpack_from("<I", told)[0])
