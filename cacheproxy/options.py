"""The options of `cacheproxy.conf`: names, kinds, help; read with oslo.config into `Settings`.

Defaults stand in the settings' dataclasses only.  Whatever is wrong with a file becomes one
`ConfigError`, one line that names file, option, value and what is accepted: nothing is ignored,
least of all a misspelt option.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from oslo_config import cfg, iniparser

from cacheproxy.config import (
    CacheSettings,
    KeystoneSettings,
    MetricsSettings,
    NotificationSettings,
    ServiceUserSettings,
    Settings,
    SignedUrlSettings,
    StoreReadSettings,
    UpstreamSettings,
)
from cacheproxy.errors import ConfigError
from cacheproxy.option import Section
from cacheproxy.sections import SECTIONS

_HELP_WIDTH = 96
_VALUE_SHOWN_MAX = 100  # of a bad value, in its error


def load(files: Sequence[str | Path]) -> Settings:
    """Read configuration files, later ones over earlier ones.  ConfigError says what is wrong."""
    written = _Written()
    for file in files:
        written.read_file(Path(file))
    conf = cfg.ConfigOpts()
    for section in SECTIONS:
        conf.register_opts(
            [
                cfg.Opt(option.name, type=option.kind)  # type: ignore[arg-type]  # any callable will do
                for option in section.options
            ],
            group=None if section.name == "DEFAULT" else section.name,
        )
    with ExitStack() as stack:
        # Read once: a file that is being written meanwhile would be two different ones.
        copies = [stack.enter_context(_copy(text)) for text in written.texts]
        try:
            conf([], project="cacheproxy", default_config_files=copies, use_env=False)
        except cfg.Error as error:
            raise ConfigError(f"the configuration cannot be read: {_one_line(error)}") from error
    filled = {section.name: _fill(section, conf, written) for section in SECTIONS}
    settings = Settings(
        **filled["DEFAULT"],
        upstream=UpstreamSettings(**filled["upstream"]),
        cache=CacheSettings(**filled["cache"]),
        metrics=MetricsSettings(**filled["metrics"]),
        service_user=ServiceUserSettings(**filled["service_user"]),
        signed_urls=SignedUrlSettings(**filled["signed_urls"]),
        keystone=KeystoneSettings(**filled["keystone"]),
        notifications=NotificationSettings(**filled["notifications"]),
        stores=StoreReadSettings(**filled["stores"]),
    )
    _check_account(settings.service_user)
    if settings.cert_file is None and (settings.key_file or settings.ca_file):
        raise ConfigError("[DEFAULT] key_file and ca_file are of no use without cert_file")
    if settings.signed_urls.enabled and not settings.cache.enabled:
        raise ConfigError(
            "[signed_urls] enabled needs [cache] enabled: it is the cache that answers"
        )
    if settings.cache_api == "local" and not settings.cache.enabled:
        raise ConfigError("[DEFAULT] cache_api = local needs a cache: set [cache] enabled")
    if settings.port and (settings.host, settings.port) == (
        settings.metrics.host,
        settings.metrics.port,
    ):
        raise ConfigError(
            "[metrics] bind_host and bind_port are those of the Images API; give it a port of its own"
        )
    return settings


@contextmanager
def _copy(text: str) -> Iterator[str]:
    """Give the path of a file in memory that holds this."""
    fd = os.memfd_create("cacheproxy.conf", os.MFD_CLOEXEC)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{fd}"


def _check_account(user: ServiceUserSettings) -> None:
    """Refuse an account that could not log in."""
    by_name = bool(user.username and user.password)
    by_credential = bool(user.application_credential_id and user.application_credential_secret)
    if user.auth_url and by_name == by_credential:
        raise ConfigError(
            "[service_user] needs either username and password, or application_credential_id and"
            " application_credential_secret"
        )


def sample() -> str:
    """Return a configuration file that explains every option and sets none."""
    lines = [
        "# Options of cacheproxy.  A line that is commented out shows the default.",
        "# Generated from the program: python -m cacheproxy.options > docs/cacheproxy.conf.sample",
    ]
    for section in SECTIONS:
        lines += ["", f"[{section.name}]"]
        for option in section.options:
            default = section.default(option)
            lines.append("")
            for text in (option.help, f"Expected: {option.kind.accepts}."):
                lines += [f"# {line}" for line in textwrap.wrap(text, _HELP_WIDTH)]
            shown = "" if default is dataclasses.MISSING else option.kind.show(default)
            lines.append(f"#{option.name} = {shown}".rstrip())
    return "\n".join(lines) + "\n"


def _fill(section: Section, conf: cfg.ConfigOpts, written: _Written) -> dict[str, Any]:
    """Return what the files set of a section, by field."""
    values: Mapping[str, Any] = conf if section.name == "DEFAULT" else conf[section.name]
    filled: dict[str, Any] = {}
    for option in section.options:
        place = written.places.get((section.name, option.name))
        if place is None:
            if section.default(option) is dataclasses.MISSING:
                raise ConfigError(
                    f"[{section.name}] {option.name} is not set; expected {option.kind.accepts}"
                )
            continue
        try:
            filled[option.target] = values[option.name]
        except (ValueError, cfg.Error) as error:
            file, value = place
            raise ConfigError(
                f"{file}: [{section.name}] {option.name} = {_shortened(value)} is not accepted; "
                f"expected {option.kind.accepts}"
            ) from error
    return filled


class _Written(iniparser.BaseParser):
    """What stands in the files; refuses what is no option of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[tuple[str, str], tuple[Path, str]] = {}  # the last one counts
        self.texts: list[str] = []  # of the files
        self._file = Path()
        self._section: Section | None = None

    def read_file(self, file: Path) -> None:
        self._file, self._section, self.lineno = file, None, 0
        try:
            text = file.read_text(encoding="utf-8")
            self.texts.append(text)
            self.parse(text.splitlines())
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file}: is not UTF-8 text") from error
        except iniparser.ParseError as error:
            line = _shortened(error.line)
            raise ConfigError(f"{file}, line {error.lineno}: {error.msg}: {line}") from error

    def new_section(self, section: str) -> None:
        known = {each.name: each for each in SECTIONS}
        if section not in known:
            guess = _nearest(section, list(known))
            raise ConfigError(f"{self._file}: unknown section [{_shortened(section)}]; {guess}")
        self._section = known[section]

    def assignment(self, key: str, value: list[str]) -> None:
        if self._section is None:
            raise ConfigError(f"{self._file}: {_shortened(key)} stands before any [section]")
        names = [option.name for option in self._section.options]
        if key not in names:
            elsewhere = [s.name for s in SECTIONS if key in [option.name for option in s.options]]
            guess = f"it belongs into [{elsewhere[0]}]" if elsewhere else _nearest(key, names)
            raise ConfigError(
                f"{self._file}: unknown option {_shortened(key)} in [{self._section.name}]; {guess}"
            )
        self.places[self._section.name, key] = (self._file, "\n".join(value))


def _nearest(name: str, known: Sequence[str]) -> str:
    # A wrong case or prefix is near, too; whatever is left is better listed than guessed.
    close = difflib.get_close_matches(name.lower(), [each.lower() for each in known], 1, 0.6)
    if close:
        return f"did you mean {next(each for each in known if each.lower() == close[0])}?"
    return f"known: {', '.join(known)}"


def _shortened(text: str) -> str:
    return ascii(text[:_VALUE_SHOWN_MAX])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def main() -> None:
    """Print the sample file."""
    sys.stdout.write(sample())


if __name__ == "__main__":
    main()
