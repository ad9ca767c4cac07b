"""What clients may know of the stores: `/v2/info/stores`."""

from __future__ import annotations

from typing import Any, assert_never

from backends.configuration import StoreSettings, StoresSettings
from backends.options import FilesystemOptions, HttpOptions, MemoryOptions, StoreOptions
from backends.rbd.options import RbdOptions
from backends.s3.options import S3Options
from backends.swift.options import SwiftOptions
from registry.domain import access
from registry.domain.documents import Document
from registry.domain.errors import NotFoundError
from registry.domain.identity import Identity


class StoreInfo:
    """Lists the stores; sizes in bytes, names of properties as Glance's."""

    def __init__(self, settings: StoresSettings) -> None:
        self._settings = settings

    def list(self) -> Document:
        """Return every store; `NotFoundError` where there is one of each kind only."""
        if not self._settings.several:
            raise NotFoundError("Multi backend is not supported at this site.")
        return {"stores": [self._about(store) for store in self._settings.stores]}

    def detail(self, identity: Identity) -> Document:
        """Return every store with how it is configured, to administrators and services."""
        about = self.list()["stores"]
        access.require_store_details(identity)
        return {
            "stores": [
                {
                    **each,
                    "type": store.kind,
                    "properties": _properties(store.options),
                    "weight": store.weight,
                }
                for each, store in zip(about, self._settings.stores, strict=True)
            ]
        }

    def _about(self, store: StoreSettings) -> dict[str, str]:
        about = {"id": store.name}
        if store.description:
            about["description"] = store.description
        if store.name == self._settings.default:
            about["default"] = "true"
        if isinstance(store.options, HttpOptions):
            about["read-only"] = "true"
        return about


def _properties(options: StoreOptions) -> dict[str, Any]:
    match options:
        case FilesystemOptions():
            return {
                "data_dir": str(options.directories[0].path),
                "chunk_size": options.piece_bytes,
                "thin_provisioning": options.thin,
            }
        case RbdOptions():
            return {
                "chunk_size": options.chunk_bytes,
                "pool": options.pool,
                "thin_provisioning": options.thin,
                "fsid": options.fsid or None,
            }
        case SwiftOptions():
            return {
                "container": options.container,
                "large_object_size": options.large_object_bytes,
                "large_object_chunk_size": options.segment_bytes,
            }
        case S3Options():
            return {
                "s3_store_large_object_size": options.large_object_bytes,
                "s3_store_large_object_chunk_size": options.part_bytes,
                "s3_store_thread_pools": options.parts_at_once,
            }
        case HttpOptions() | MemoryOptions():
            return {}
        case _:
            assert_never(options)
