"""The options of Glance's S3 store; `s3_options` reads them as Glance names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from backends.glance_values import number, truth

MIB = 1 << 20
PART_MIB_MIN = 5  # S3 refuses smaller ones, but for the last

Addressing = Literal["auto", "virtual", "path"]


@dataclass(frozen=True, slots=True)
class S3Options:
    """Glance's `s3_store_*`, with its defaults, and the bounds of the s3 driver."""

    host: str  # a name or an address, with a scheme or without (plain HTTP)
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str = ""  # where empty, what the host tells
    create_bucket: bool = False  # when the first object is put
    addressing: Addressing = "auto"  # the bucket in the host or the path
    large_object_bytes: int = 100 * MIB  # from here on in parts, where the size is known
    part_bytes: int = 10 * MIB
    parts_at_once: int = 10  # of one object, on their way
    ca_file: Path | None = None  # trusted instead of botocore's authorities
    buffer_bytes: int = 50 * MIB  # of one write, in memory: five parts of the usual size
    connections: int = 100  # at once
    connect_seconds: float = 10.0
    stall_seconds: float = 60.0  # the longest silence, before or within an answer


def s3_options(values: Mapping[str, str]) -> S3Options:
    """Read `s3_store_*` as they stand in a section of `glance-api.conf`; other options are left.

    ValueError for what Glance refuses too.  The three options of data integrity protection say
    nothing here: what is sent always has its digest.
    """
    part_mib = number(values, "s3_store_large_object_chunk_size", 10)
    if part_mib < PART_MIB_MIN:
        raise ValueError(f"s3_store_large_object_chunk_size must be at least {PART_MIB_MIN}")
    pools = number(values, "s3_store_thread_pools", 10)
    if pools < 1:
        raise ValueError("s3_store_thread_pools must be at least 1")
    ca_file = values.get("s3_store_cacert", "")
    return S3Options(
        host=_required(values, "s3_store_host"),
        bucket=_required(values, "s3_store_bucket"),
        access_key=_required(values, "s3_store_access_key"),
        secret_key=_required(values, "s3_store_secret_key"),
        region=values.get("s3_store_region_name", ""),
        create_bucket=truth(values, "s3_store_create_bucket_on_put"),
        addressing=_addressing(values),
        large_object_bytes=number(values, "s3_store_large_object_size", 100) * MIB,
        part_bytes=part_mib * MIB,
        parts_at_once=pools,
        ca_file=Path(ca_file) if ca_file else None,
    )


def _required(values: Mapping[str, str], name: str) -> str:
    value = values.get(name, "")
    if not value:
        raise ValueError(f"{name} must be set")
    return value


def _addressing(values: Mapping[str, str]) -> Addressing:
    match values.get("s3_store_bucket_url_format", "auto").strip():
        case "auto" | "virtual" | "path" as found:
            return found
        case other:
            raise ValueError(f"s3_store_bucket_url_format is auto, virtual or path: {other!r}")
