"""`cacheproxy prefetch`."""

from __future__ import annotations

import os
from argparse import Namespace

import msgspec

from cacheproxy.admin import requests
from cacheproxy.admin.results import Prefetched, PrefetchResult
from cacheproxy.cli import client, figures, output
from cacheproxy.errors import ConfigError


def run(arguments: Namespace) -> int:
    """Prefetch, show how far it is, and tell what became of each image; 1 if any failed."""
    request = requests.Prefetch(
        images=arguments.images, token=read_token(arguments), wait=arguments.wait
    )
    raw = client.watched(arguments, request)
    done = msgspec.json.decode(raw, type=PrefetchResult)
    if arguments.json:
        output.json_document(raw)
    else:
        output.text("\n".join(line(image, waited=done.waited) for image in done.images))
    return int(any(image.error is not None for image in done.images))


def read_token(arguments: Namespace) -> str | None:
    """Return the token to ask the upstream with, None without one.  It is in no message."""
    if arguments.os_token_file is None:
        return _checked(os.environ.get("OS_TOKEN", "").strip(), "OS_TOKEN")
    try:
        text = arguments.os_token_file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise ConfigError(f"--os-token-file {arguments.os_token_file}: {reason}") from None
    return _checked(text.strip(), f"--os-token-file {arguments.os_token_file}")


def _checked(token: str, where: str) -> str | None:
    if len(token) > requests.TOKEN_CHARACTERS_MAX or not all("!" <= each <= "~" for each in token):
        raise ConfigError(f"{where}: that is no token")
    return token or None


def line(image: Prefetched, *, waited: bool) -> str:
    if image.error is not None:
        return f"{image.image}: {image.error}"
    if not waited:
        return f"{image.image}: begun; see cacheproxy status"
    told = f"{image.image}: {figures.share(image.cached_bytes, image.size_bytes)} of "
    told += f"{figures.size(image.size_bytes)} is cached"
    if not image.fetched_bytes:
        return told + ", nothing was missing"
    rate = image.fetched_bytes / max(image.seconds, 0.001)
    return (
        f"{told}; {figures.size(image.fetched_bytes)} fetched in "
        f"{figures.duration(image.seconds)} ({figures.size(rate)}/s)"
    )
