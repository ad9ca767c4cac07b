"""The options of Glance's Swift store; `settings` reads them as Glance names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
MEGABYTE = 1000 * 1024  # what Glance's Swift options mean by MB
SEED_MAX = 32  # hexadecimal digits of an image id


@dataclass(frozen=True, slots=True)
class SwiftAccount:
    """With whom a store logs in to Keystone, and where: a section of `swift_store_config_file`.

    Either `user` (`PROJECT:USER`) and `key`, or an application credential.
    """

    auth_address: str
    user: str = ""
    key: str = field(default="", repr=False)
    application_credential_id: str = ""
    application_credential_secret: str = field(default="", repr=False)
    user_domain_id: str | None = "default"
    user_domain_name: str | None = None
    project_domain_id: str | None = "default"
    project_domain_name: str | None = None


@dataclass(frozen=True, slots=True)
class SwiftOptions:
    """Glance's `swift_store_*`, with its defaults, and the bounds of the driver.

    ValueError for what makes no sense together.
    """

    accounts: Mapping[str, SwiftAccount] = field(default_factory=dict)  # by reference
    default_reference: str = "ref1"  # whose account takes new images
    locations_name_references: bool = False  # accounts stand in a file, not in locations
    container: str = "glance"
    create_container: bool = False
    containers_seed: int = 0  # characters of an image's id that choose its container
    large_object_bytes: int = 5120 * MEGABYTE  # from here on, images are written in segments
    segment_bytes: int = 200 * MEGABYTE
    multi_tenant: bool = False
    use_trusts: bool = True  # an upload in segments goes on when its caller's token has ended
    admin_projects: tuple[str, ...] = ()  # may write everybody's images
    region: str | None = None
    service_type: str = "object-store"
    endpoint_type: str = "publicURL"
    endpoint: str | None = None  # instead of the catalog's
    ca_file: Path | None = None
    verify_certificates: bool = True
    resumptions: int = 0  # of one read, by the driver itself (Glance's retry_get_count)
    expire_soon_seconds: int = 60  # a token that ends so soon is not used for a new request
    connections: int = 100  # at once, to all servers together
    connect_seconds: float = 10.0
    stall_seconds: float = 60.0  # the longest silence of Swift or Keystone
    read_buffer_bytes: int = MIB  # received and not yet read, per answer
    range_bytes: int = 32 * MIB  # of one read; a longer one is several
    ranges_at_once: int = 2  # of one read: so many of those may be in memory
    piece_bytes: int = MIB  # what goes into an upload at once
    upload_buffer_bytes: int = 64 * MIB  # written and not yet sent, per upload
    # Segments that do not fit into memory are kept here until they are there, to be sent again:
    # so many of each upload as are sent at once.  None: an upload of which one fails has failed.
    buffer_directory: Path | None = None
    verify_uploads: bool = False  # by MD5, which takes four times the time of all the rest
    segments_at_once: int = 4  # of one upload, also when it is deleted

    def __post_init__(self) -> None:
        if not 0 <= self.containers_seed <= SEED_MAX:
            raise ValueError(
                f"swift_store_multiple_containers_seed is not a number from 0 to {SEED_MAX}"
            )
        if self.multi_tenant and self.locations_name_references:
            raise ValueError(
                "swift_store_multi_tenant and swift_store_config_file exclude each other"
            )
        if not self.multi_tenant and self.default_reference not in self.accounts:
            raise ValueError(
                f"default_swift_reference: no account is called {self.default_reference!r}; set "
                "swift_store_auth_address, swift_store_user and swift_store_key, or name a "
                "complete section of swift_store_config_file"
            )
        if not 0 < self.piece_bytes <= self.upload_buffer_bytes or self.segment_bytes <= 0:
            raise ValueError("pieces, segments and their buffer must have room for bytes")
