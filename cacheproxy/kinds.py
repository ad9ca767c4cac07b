"""The kinds of values that options have: each reads a text, prints a value, and says what it accepts.

They are oslo.config types (called with the text; ValueError for what they do not accept) that also
let a comment stand behind the value, as operators write it: `image_cache_size = 10G # of 50`.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_COMMENT = re.compile(r"(^|\s+)#.*", re.DOTALL)
_SIZE = re.compile(r"(\d{1,19})\s*(?:([KMGT])(?:iB)?)?", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"-?\d{1,19}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,19}(\.\d{1,9})?", re.ASCII)
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9.-]{1,253}", re.ASCII)
_VERSION_PATH = re.compile(r"/v\d(\.\d+)?$", re.ASCII)
UPSTREAM_URLS_MAX = 8  # metrics have a label value for each
_UNITS: Mapping[str, int] = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class Kind:
    """A kind of value."""

    @property
    def accepts(self) -> str:
        """What it accepts, to complete "expected …"."""
        raise NotImplementedError

    def __call__(self, text: str) -> Any:
        """Return the value; ValueError if it is none of this kind.  A value is returned as it is."""
        return self.read(_COMMENT.sub("", text).strip()) if isinstance(text, str) else text

    def read(self, text: str) -> Any:
        """Return the value of a text without comment."""
        raise NotImplementedError

    def show(self, value: Any) -> str:
        """Return how a value is written in a file."""
        return str(value)


class Switch(Kind):
    """On or off."""

    @property
    def accepts(self) -> str:
        return "true or false"

    def read(self, text: str) -> bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ValueError(text)

    def show(self, value: bool) -> str:
        return str(value).lower()


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number within bounds."""

    least: int
    most: int

    @property
    def accepts(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def read(self, text: str) -> int:
        if not _WHOLE.fullmatch(text) or not self.least <= int(text) <= self.most:
            raise ValueError(text)
        return int(text)


@dataclass(frozen=True)
class Seconds(Kind):
    """A duration within bounds."""

    least: float
    most: float

    @property
    def accepts(self) -> str:
        return f"seconds, from {self.least:g} to {self.most:g}"

    def read(self, text: str) -> float:
        if not _NUMBER.fullmatch(text) or not self.least <= float(text) <= self.most:
            raise ValueError(text)
        return float(text)

    def show(self, value: float) -> str:
        return f"{value:g}"


@dataclass(frozen=True)
class Size(Kind):
    """A number of bytes, plain or with a binary unit."""

    least: int
    most: int = 1 << 60

    @property
    def accepts(self) -> str:
        least, most = self.show(self.least), self.show(self.most)
        return f"bytes, plain or like 512M, 10G, 10GiB or 2T, from {least} to {most}"

    def read(self, text: str) -> int:
        match = _SIZE.fullmatch(text)
        if not match:
            raise ValueError(text)
        size = int(match[1]) * _UNITS[match[2].upper()] if match[2] else int(match[1])
        if not self.least <= size <= self.most:
            raise ValueError(text)
        return size

    def show(self, value: int) -> str:
        units = [unit for unit in _UNITS if value and value % _UNITS[unit] == 0]
        return f"{value // _UNITS[units[-1]]}{units[-1]}iB" if units else str(value)


@dataclass(frozen=True)
class SizeOf(Size):
    """One of a few sizes."""

    least: int = 0
    choices: tuple[int, ...] = ()

    @property
    def accepts(self) -> str:
        return "one of " + ", ".join(map(self.show, self.choices))

    def read(self, text: str) -> int:
        size = super().read(text)
        if size not in self.choices:
            raise ValueError(text)
        return size


@dataclass(frozen=True)
class OneOf(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def accepts(self) -> str:
        return " or ".join(self.words)

    def read(self, text: str) -> str:
        if text not in self.words:
            raise ValueError(text)
        return text


class Text(Kind):
    """Any text of one line."""

    @property
    def accepts(self) -> str:
        return "text of one line"

    def read(self, text: str) -> str:
        if "\n" in text or "\0" in text:
            raise ValueError(text)
        return text


class Secret(Text):
    """A text that may hold a `#`, as a password may: no comment can stand behind it."""

    @property
    def accepts(self) -> str:
        return "text of one line, without a comment behind it; write $$ for $"

    def __call__(self, text: str) -> Any:
        return self.read(text.strip())


class KeystoneUrl(Kind):
    """The URL of an identity service, or nothing."""

    @property
    def accepts(self) -> str:
        return "the http:// or https:// address of Keystone, like https://keystone.example:5000/v3"

    def read(self, text: str) -> str:
        if not text:
            return ""
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise ValueError(text)
        return text


class Host(Kind):
    """An address of this machine, or a name that resolves to one."""

    @property
    def accepts(self) -> str:
        return "an IPv4 or IPv6 address (without brackets) or a host name"

    def read(self, text: str) -> str:
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            if not _HOST_NAME.fullmatch(text) or re.fullmatch(r"[\d.]+", text):
                raise
            return text


class Directory(Kind):
    """An absolute path."""

    @property
    def accepts(self) -> str:
        return "an absolute path, like /var/lib/cacheproxy"

    def read(self, text: str) -> Path:
        if not text.startswith("/") or "\n" in text or "\0" in text:
            raise ValueError(text)
        return Path(text)


class OptionalDirectory(Directory):
    """An absolute path, or nothing."""

    @property
    def accepts(self) -> str:
        return f"{super().accepts}, or nothing"

    def read(self, text: str) -> Any:
        return super().read(text) if text else None

    def show(self, value: Path | None) -> str:
        return str(value or "")


class SocketPath(Kind):
    """An absolute path of a unix socket, or nothing; its name is bounded, its directory is not."""

    name_bytes_max = 80

    @property
    def accepts(self) -> str:
        return f"an absolute path, its last part of at most {self.name_bytes_max} bytes, or nothing"

    def read(self, text: str) -> Path | None:
        if not text:
            return None
        path = Directory().read(text)
        if not 0 < len(os.fsencode(path.name)) <= self.name_bytes_max:
            raise ValueError(text)
        return path

    def show(self, value: Path | None) -> str:
        return str(value or "")


class FilePath(Kind):
    """An absolute path of a file, or nothing."""

    @property
    def accepts(self) -> str:
        return "an absolute path, or nothing"

    def read(self, text: str) -> Path | None:
        return Directory().read(text) if text else None

    def show(self, value: Path | None) -> str:
        return str(value or "")


class FilePaths(Kind):
    """Absolute paths of files or directories, or nothing."""

    @property
    def accepts(self) -> str:
        return "absolute paths with commas between them, or nothing"

    def read(self, text: str) -> tuple[Path, ...]:
        return tuple(Directory().read(each.strip()) for each in text.split(",") if text)

    def show(self, value: tuple[Path, ...]) -> str:
        return ", ".join(map(str, value))


class Names(Kind):
    """Names, or nothing."""

    @property
    def accepts(self) -> str:
        return "names with commas between them, or nothing"

    def read(self, text: str) -> tuple[str, ...]:
        names = tuple(each.strip() for each in text.split(",") if text)
        if "" in names or "\n" in text or len(set(names)) < len(names):
            raise ValueError(text)
        return names

    def show(self, value: tuple[str, ...]) -> str:
        return ", ".join(value)


class ServiceUrls(Kind):
    """Base URLs of one image service; a trailing `/` or `/v2` is not part of them."""

    @property
    def accepts(self) -> str:
        return (
            "http:// or https://, host, port and path of your Glance, like http://glance.example:9292;"
            f" or up to {UPSTREAM_URLS_MAX} of these with commas between them"
        )

    def read(self, text: str) -> str:
        urls = [_service_url(each.strip()) for each in text.split(",")]
        if len(urls) > UPSTREAM_URLS_MAX or len(set(urls)) < len(urls):
            raise ValueError(text)
        return ", ".join(urls)


class OptionalUrl(Kind):
    """How the URLs of this proxy begin, or nothing; a trailing `/` is not part of it."""

    @property
    def accepts(self) -> str:
        return "http:// or https://, host and port, like http://node1.example:9292, or nothing"

    def read(self, text: str) -> str:
        return _service_url(text) if text else ""


def _service_url(text: str) -> str:
    parts = urlsplit(text)
    bad = (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.port == 0  # .port raises ValueError for what is no port
        or "@" in parts.netloc  # credentials belong to the callers, and would show in logs
        or bool(parts.query or parts.fragment)
        or not all(" " < letter <= "~" for letter in text)
    )
    if bad:
        raise ValueError(text)
    path = _VERSION_PATH.sub("", parts.path.rstrip("/")).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"
