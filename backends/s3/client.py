"""The one botocore client of an S3 store: made at its first use, and free of its surroundings.

Neither AWS_* variables that name other keys nor files in a home directory have a say.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from functools import cache
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.loaders import Loader, create_loader

from backends.s3.connections import S3Connections
from backends.s3.errors import translated
from backends.s3.location import Endpoint
from backends.s3.options import S3Options
from backends.s3.signing import sign_known_digests

ATTEMPTS = 1  # botocore's; trying again is for the wrapper, which knows where a read broke

# Where botocore's variables come from: name in the file, in the environment, default, conversion.
_SURROUNDINGS = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


@cache
def _models() -> Loader:
    """Return what reads botocore's models of the services, once for all stores of a process."""
    return create_loader()


def _session() -> AioSession:
    session = AioSession(session_vars=_SURROUNDINGS)
    session.register_component("data_loader", _models())
    _ = session.full_config  # looks for the files, now instead of on the loop
    return session


def _expect_nothing(params: dict[str, Any], **_: object) -> None:
    """Send bodies at once: waiting for `100 Continue` would cost every part a round trip."""
    params["headers"].pop("Expect", None)


class S3Client:
    """Opens the client when it is first asked for it."""

    def __init__(self, options: S3Options, endpoint: Endpoint) -> None:
        self._options = options
        self._endpoint = endpoint
        self._opening = asyncio.Lock()
        self._client: Any = None
        self._stack = AsyncExitStack()

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return self._options.region or self._endpoint.region

    async def get(self) -> Any:
        """Return the client, open; UnavailableError if botocore makes none of the options."""
        async with self._opening:
            if self._client is None:
                with translated(self._endpoint.url):
                    session = await asyncio.to_thread(_session)
                    client = await self._stack.enter_async_context(self._made(session))
                client.meta.events.register_last("before-call.s3", _expect_nothing)
                sign_known_digests(client.meta.events)
                self._client = client
            return self._client

    async def aclose(self) -> None:
        """Close all connections."""
        async with self._opening:
            self._client = None
            await self._stack.aclose()

    def _made(self, session: AioSession) -> Any:
        options = self._options
        return session.create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self._endpoint.url,
            aws_access_key_id=options.access_key,
            aws_secret_access_key=options.secret_key,
            verify=None if options.ca_file is None else str(options.ca_file),
            config=AioConfig(
                http_session_cls=S3Connections,
                warm_up_loader_caches=True,  # in a thread
                signature_version="s3v4",
                connect_timeout=options.connect_seconds,
                read_timeout=options.stall_seconds,
                max_pool_connections=options.connections,
                retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": self._addressing},
            ),
        )

    @property
    def _addressing(self) -> str:
        """`auto` as Glance means it: in the host at Amazon, in the path elsewhere."""
        if self._options.addressing == "auto":
            return "virtual" if self._endpoint.is_amazon else "path"
        return self._options.addressing
