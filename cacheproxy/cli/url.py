"""`cacheproxy url`."""

from __future__ import annotations

import http.client
import json
import shlex
from argparse import Namespace
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from cacheproxy.cli import client, output
from cacheproxy.cli.client import UnreachableError
from cacheproxy.cli.prefetch import read_token
from cacheproxy.errors import ProxyError

ANSWER_SECONDS = 60.0  # the image service and Keystone are asked meanwhile
ANSWER_BYTES_MAX = 1 << 20
QEMU_SECONDS = 300  # qemu gives up after 5 by itself, which a cold image may need

_EVERYWHERE: Mapping[str, str] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (not bound to)
# Glance's disk formats whose drivers in qemu have another name; one that is not known is raw bytes.
_DRIVERS: Mapping[str | None, str] = {
    **{each: each for each in ("qcow2", "vmdk", "vdi", "vhdx")},
    "vhd": "vpc",
    "ploop": "parallels",
}


class Signed(msgspec.Struct):
    """What the proxy answers."""

    image: str
    url: str
    expires_at: str
    ends_with_token: bool
    disk_format: str | None


class UrlRefusedError(ProxyError):
    """The proxy's own words."""


def run(arguments: Namespace) -> int:
    """Have a URL signed or renewed, and print how qemu reads it."""
    token = read_token(arguments)
    raw = _post(arguments, token)
    try:
        signed = msgspec.json.decode(raw, type=Signed)
    except msgspec.MsgspecError:
        raise UrlRefusedError("that is no answer of a cacheproxy") from None
    if arguments.json:
        output.json_document(msgspec.Raw(raw))
    else:
        output.text(render(signed))
    return 0


def render(signed: Signed) -> str:
    """Return the URL, when it ends, and lines for qemu."""
    ends = ", or with your token" if signed.ends_with_token else ""
    return "\n".join(
        [
            signed.url,
            "",
            f"It expires at {signed.expires_at}{ends}.  The same URL lives on with",
            f"  cacheproxy url {shlex.quote(signed.image)} --renew URL",
            "",
            "Look at it, copy it, or run a guest on it whose writes go elsewhere:",
            f"  qemu-img info {shlex.quote(_qemu(signed))}",
            f"  qemu-img convert -m 1 -O raw {shlex.quote(_qemu(signed))} disk.raw",
            f"  qemu-img create -f qcow2 -F {_driver(signed)} -b {shlex.quote(_qemu(signed))} disk.qcow2",
        ]
    )


def _qemu(signed: Signed) -> str:
    file = {"driver": "http", "url": signed.url, "timeout": QEMU_SECONDS}
    if signed.url.startswith("https:"):
        file["driver"] = "https"
    return "json:" + json.dumps({"driver": _driver(signed), "file": file})


def _driver(signed: Signed) -> str:
    return _DRIVERS.get(signed.disk_format, "raw")


def _post(arguments: Namespace, token: str | None) -> bytes:
    endpoint = arguments.endpoint or _endpoint(arguments)
    parts = urlsplit(endpoint)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["X-Auth-Token"] = token
    wish = {"lifetime": arguments.lifetime, "url": arguments.renew}
    body = json.dumps({name: value for name, value in wish.items() if value is not None})
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
        try:
            path = f"{parts.path.rstrip('/')}/cacheproxy/v1/images/{arguments.image}/url"
            connection.request("POST", path, body=body, headers=headers)
            with connection.getresponse() as answer:
                text = answer.read(ANSWER_BYTES_MAX)
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UnreachableError(
            f"no cacheproxy answers at {endpoint}: {reason}; say where with --endpoint"
        ) from None
    if answer.status not in (200, 201):
        said = " ".join(text.decode(errors="replace").split())
        missing = "" if token else "; set OS_TOKEN, or --os-token-file"
        raise UrlRefusedError(f"no URL: {said}{missing}")
    return text


def _endpoint(arguments: Namespace) -> str:
    """Return where the configuration has the proxy listen."""
    settings = client.settings(arguments)
    host = _EVERYWHERE.get(settings.host, settings.host)
    scheme = "http" if settings.cert_file is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"
