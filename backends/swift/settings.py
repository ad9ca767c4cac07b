"""Glance's own Swift options, as they stand in its configuration and its file of accounts."""

from __future__ import annotations

import configparser
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

from backends.glance_values import number, truth
from backends.swift.options import MEGABYTE, SwiftAccount, SwiftOptions

_log = logging.getLogger(__name__)

_ENDPOINT_TYPES = ("publicURL", "adminURL", "internalURL")
_QUOTES = "\"'"


def swift_options(values: Mapping[str, str]) -> SwiftOptions:
    """Read `swift_store_*` and `default_swift_reference` of a section of `glance-api.conf`.

    One is ours: `swift_store_verify_uploads` holds the MD5 that Swift has of each object against
    that of what was sent.  glance_store does not; whoever reads an image sees its hash.
    Reads the `swift_store_config_file` too, tries the `swift_upload_buffer_dir`, and so blocks.  ValueError for what Glance refuses.
    `swift_store_ssl_compression` says nothing here, as TLS compresses nothing any more.
    """
    file = values.get("swift_store_config_file", "").strip()
    reference = values.get("default_swift_reference", "").strip() or "ref1"
    ca_file = values.get("swift_store_cacert", "").strip()
    endpoint_type = values.get("swift_store_endpoint_type", "").strip() or "publicURL"
    if endpoint_type not in _ENDPOINT_TYPES:
        raise ValueError(f"swift_store_endpoint_type is none of {', '.join(_ENDPOINT_TYPES)}")
    return SwiftOptions(
        accounts=_accounts(Path(file)) if file else _account(values, reference),
        default_reference=reference,
        locations_name_references=bool(file),
        container=values.get("swift_store_container", "").strip() or "glance",
        create_container=truth(values, "swift_store_create_container_on_put"),
        containers_seed=number(values, "swift_store_multiple_containers_seed", 0),
        large_object_bytes=_megabytes(values, "swift_store_large_object_size", 5120),
        segment_bytes=_megabytes(values, "swift_store_large_object_chunk_size", 200),
        multi_tenant=truth(values, "swift_store_multi_tenant"),
        use_trusts=truth(values, "swift_store_use_trusts", "true"),
        admin_projects=_list(values.get("swift_store_admin_tenants", "")),
        region=values.get("swift_store_region", "").strip() or None,
        service_type=values.get("swift_store_service_type", "").strip() or "object-store",
        endpoint_type=endpoint_type,
        endpoint=values.get("swift_store_endpoint", "").strip() or None,
        ca_file=Path(ca_file) if ca_file else None,
        verify_certificates=not truth(values, "swift_store_auth_insecure"),
        resumptions=number(values, "swift_store_retry_get_count", 0),
        expire_soon_seconds=number(values, "swift_store_expire_soon_interval", 60),
        buffer_directory=_buffer_directory(values),
        verify_uploads=truth(values, "swift_store_verify_uploads"),
    )


def _account(values: Mapping[str, str], reference: str) -> dict[str, SwiftAccount]:
    """Return the account of the flat options, if they are enough for one."""
    _check_version(values.get("swift_store_auth_version", ""))
    found = {
        name: values.get(f"swift_store_{name}", "").strip()
        for name in (
            "auth_address",
            "user",
            "key",
            "application_credential_id",
            "application_credential_secret",
        )
    }
    account = SwiftAccount(**found)
    return {reference: account} if _is_complete(account) else {}


def _accounts(file: Path) -> dict[str, SwiftAccount]:
    """Read a file of accounts; those that are not complete are left out, as Glance does."""
    parser = configparser.ConfigParser()
    try:
        with file.open(encoding="utf-8") as opened:
            parser.read_file(opened)
        sections = {name: dict(parser[name]) for name in parser.sections()}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        kind = type(error).__name__  # the message may quote a line with a key
        raise ValueError(f"swift_store_config_file {file}: cannot be read: {kind}") from None
    accounts = {}
    for name, section in sections.items():
        values = {key: _unquoted(value) for key, value in section.items()}
        _check_version(values.get("auth_version", ""))
        account = SwiftAccount(
            auth_address=values.get("auth_address", ""),
            user=values.get("user", ""),
            key=values.get("key", ""),
            application_credential_id=values.get("application_credential_id", ""),
            application_credential_secret=values.get("application_credential_secret", ""),
            **_domain(values, "user"),
            **_domain(values, "project"),
        )
        if _is_complete(account):
            accounts[name] = account
        else:
            _log.warning("%s: the account %s lacks an address or credentials", file, name)
    return accounts


def _buffer_directory(values: Mapping[str, str]) -> Path | None:
    """Return where segments are buffered, None for nowhere."""
    if not truth(values, "swift_buffer_on_upload"):
        return None
    directory = values.get("swift_upload_buffer_dir", "").strip()
    if not directory:
        raise ValueError("swift_buffer_on_upload needs swift_upload_buffer_dir")
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise ValueError(f"swift_upload_buffer_dir {directory}: {error.strerror}") from None
    return Path(directory)


def _domain(values: Mapping[str, str], whose: str) -> dict[str, str | None]:
    """Return the two options of a domain: the default one where neither is given."""
    name, identity = values.get(f"{whose}_domain_name"), values.get(f"{whose}_domain_id")
    if name is None and identity is None:
        identity = "default"
    return {f"{whose}_domain_name": name, f"{whose}_domain_id": identity}


def _is_complete(account: SwiftAccount) -> bool:
    credential = account.application_credential_id and account.application_credential_secret
    return bool(account.auth_address and (credential or (account.user and account.key)))


def _check_version(value: str) -> None:
    if value.strip() not in ("", "3"):
        raise ValueError("of Keystone's versions, Swift's stores use 3 only")


def _megabytes(values: Mapping[str, str], name: str, default: int) -> int:
    megabytes = number(values, name, default)
    if not megabytes:
        raise ValueError(f"{name} must be at least 1")
    return megabytes * MEGABYTE


def _list(value: str) -> tuple[str, ...]:
    return tuple(part for each in value.split(",") if (part := each.strip()))


def _unquoted(value: str) -> str:
    if value and value[0] in _QUOTES:
        if len(value) == 1 or value[-1] != value[0]:
            raise ValueError("a value in the file of Swift's accounts has half of its quotes")
        return value[1:-1]
    return value
