"""`import-glance`: its command line, its progress, and what it says at the end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from keystoneauth1 import loading
from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import ClientException

from backends.configuration import StoresSettings
from backends.openstores import OpenStores
from registry.config import Settings, load_stores
from registry.db.database import Database
from registry.errors import ConfigError
from registry.fetching.filtering import UriFilter
from registry.fetching.guarding import guard_of
from registry.progress import progress
from registry.service.stores import Stores
from registry.takeover.source import GlanceSource
from registry.takeover.takeover import Outcome, Takeover
from registry.upkeep import opened_database

REQUEST_SECONDS = 60.0  # the longest silence of Glance or Keystone
SOMETHING_LEFT = 3  # exit code: done, but not all of Glance is here
_USER_AGENT = "cacheproxy-registry"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is to do; `endpoint` None: the one that Keystone names."""

    dry_run: bool
    verify: bool
    endpoint: str | None
    interface: str
    region: str | None


def add_login(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add the options by which OpenStack's clients log in; they read OS_… as those do."""
    loading.register_auth_argparse_arguments(parser, list(arguments), default="password")
    loading.register_session_argparse_arguments(parser)
    parser.set_defaults(timeout=REQUEST_SECONDS)


async def import_glance(options: argparse.Namespace, settings: Settings) -> int:
    """Take over, and verify if that is wanted; return the exit code."""
    wanted = Wanted(
        options.dry_run, options.verify, options.glance, options.interface, options.region
    )
    stores = load_stores(options.config_file)
    async with opened_database(settings) as database, _opened(settings, stores) as opened:
        source = GlanceSource(_adapter(options, wanted))
        try:
            return await _run(wanted, database, source, opened)
        finally:
            await source.aclose()


@asynccontextmanager
async def _opened(settings: Settings, configured: StoresSettings) -> AsyncIterator[Stores]:
    guard = guard_of(UriFilter(settings.web))
    stores = Stores(configured, OpenStores(configured, guard=guard))
    try:
        yield stores
    finally:
        await stores.aclose()


def _adapter(options: argparse.Namespace, wanted: Wanted) -> Adapter:
    try:
        auth = loading.load_auth_from_argparse_arguments(options)
        session = loading.load_session_from_argparse_arguments(options, auth=auth)
    except ClientException as error:
        raise ConfigError(f"cannot log in: {error}") from None
    if auth is None:
        raise ConfigError("cannot log in: set OS_AUTH_URL and what `openstack` needs besides")
    return Adapter(
        session,
        service_type="image",
        interface=wanted.interface,
        region_name=wanted.region,
        endpoint_override=None if wanted.endpoint is None else _base(wanted.endpoint),
        user_agent=_USER_AGENT,
    )


def _base(url: str) -> str:
    return url.rstrip("/").removesuffix("/v2")


async def _run(wanted: Wanted, database: Database, source: GlanceSource, stores: Stores) -> int:
    await source.require_administrator()
    takeover = Takeover(database, source, stores, dry_run=wanted.dry_run)
    try:
        documents = await takeover.listed()
        with progress("taking over", len(documents), "images") as bar:
            await takeover.take(documents.values(), bar.update)
        await takeover.follow_deletions(documents)
    finally:
        _tell(takeover, dry_run=wanted.dry_run)
    different = await _verify(takeover) if wanted.verify else 0
    return SOMETHING_LEFT if different or takeover.report.left else 0


async def _verify(takeover: Takeover) -> int:
    """Ask Glance again and compare; return how many differences there are."""
    documents = await takeover.listed()
    with progress("verifying", len(documents), "images") as bar:
        found = await takeover.compare(documents.values(), bar.update)
    for image_id, what in found:
        _say(f"{image_id}: {what}")
    _say(f"verified: {len(documents)} images in Glance, {len(found)} differences")
    return len(found)


def _tell(takeover: Takeover, *, dry_run: bool) -> None:
    report = takeover.report
    for image_id, name, reason in sorted(report.left):
        _say(f"{image_id} ({name}): {reason}")
    counts = ", ".join(f"{report.counts[each]} {each}" for each in Outcome)
    _say(f"would be: {counts}" if dry_run else counts)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
