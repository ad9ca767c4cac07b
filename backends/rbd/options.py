"""The options of Glance's RBD store; `rbd_options` reads them as Glance names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.glance_values import number, truth

MIB = 1 << 20
ANSWER_SECONDS = 30  # where Glance leaves it to librados, which may wait for ever
CHUNK_MIB_MAX = 32  # Ceph makes no larger objects

_FSID = re.compile(r"^\s*fsid\s*=\s*([0-9A-Fa-f-]+)\s*(?:[;#].*)?$", re.MULTILINE)
_NUMBER = re.compile(r"-?[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RbdOptions:
    """Glance's `rbd_store_*`, with its defaults, and the bounds of the rbd driver."""

    pool: str = "images"  # of new images
    user: str = ""  # the part after `client.`; empty: librados's own, admin
    configuration: Path | None = None  # a ceph.conf; None: where librados looks for one
    fsid: str = ""  # of the cluster, where that file tells it
    chunk_bytes: int = 8 * MIB  # the objects that an image consists of
    thin: bool = False  # zeros of a new image take no room
    answer_seconds: int = ANSWER_SECONDS  # for each call of Ceph's own, that of connecting too
    piece_bytes: int = 2 * MIB  # the longest piece of a read
    read_ahead_bytes: int = 16 * MIB  # of one read, received or on its way
    reads_ahead_bytes: int = 128 * MIB  # the same of all reads; each has a piece in any case
    buffer_bytes: int = 48 * MIB  # of one write, in memory
    threads: int = 32  # calls that block, at once; data is read and written without


def rbd_options(values: Mapping[str, str]) -> RbdOptions:
    """Read `rbd_*` and `rados_connect_timeout` of a section of `glance-api.conf`.

    Looks into the `rbd_store_ceph_conf` for the cluster's id, and so blocks.  ValueError for what
    Glance refuses, and for objects larger than Ceph has them.
    """
    chunk_mib = number(values, "rbd_store_chunk_size", 8)
    if not 1 <= chunk_mib <= CHUNK_MIB_MAX:
        raise ValueError(f"rbd_store_chunk_size must be from 1 to {CHUNK_MIB_MAX}")
    file = values.get("rbd_store_ceph_conf", "").strip()
    configuration = Path(file) if file else None
    seconds = values.get("rados_connect_timeout", "-1").strip()
    if not _NUMBER.fullmatch(seconds):
        raise ValueError(f"rados_connect_timeout is not a number: {seconds!r}")
    return RbdOptions(
        pool=values.get("rbd_store_pool", "").strip() or "images",
        user=values.get("rbd_store_user", "").strip(),
        configuration=configuration,
        fsid=_fsid(configuration),
        chunk_bytes=chunk_mib * MIB,
        thin=truth(values, "rbd_thin_provisioning"),
        answer_seconds=int(seconds) if int(seconds) > 0 else ANSWER_SECONDS,
    )


def _fsid(configuration: Path | None) -> str:
    """Return what a ceph.conf says of the cluster's id; nothing where it cannot be read."""
    if configuration is None:
        return ""
    try:
        found = _FSID.search(configuration.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found[1] if found else ""
