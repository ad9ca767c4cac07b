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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg, iniparser

from cacheproxy.config import (
    MIB,
    CacheSettings,
    MetricsSettings,
    ServiceUserSettings,
    Settings,
    UpstreamSettings,
)
from cacheproxy.errors import ConfigError
from cacheproxy.kinds import (
    Directory,
    Host,
    KeystoneUrl,
    Kind,
    OneOf,
    Seconds,
    Secret,
    ServiceUrl,
    Size,
    SizeOf,
    SocketPath,
    Switch,
    Text,
    Whole,
)

_HELP_WIDTH = 96
_VALUE_SHOWN_MAX = 100  # of a bad value, in its error


@dataclass(frozen=True)
class Option:
    """One option; `field` is the settings' field where that has another name."""

    name: str
    kind: Kind
    help: str
    field: str = ""

    @property
    def target(self) -> str:
        """The field of the settings."""
        return self.field or self.name


@dataclass(frozen=True)
class Section:
    """A section of the file and the dataclass that it fills."""

    name: str
    settings: type[Any]
    options: Sequence[Option]

    def default(self, option: Option) -> Any:
        """Return an option's default; `dataclasses.MISSING` where it must be set."""
        (field,) = (f for f in dataclasses.fields(self.settings) if f.name == option.target)
        return field.default


SECTIONS = (
    Section(
        "DEFAULT",
        Settings,
        [
            Option(
                "bind_host",
                Host(),
                "Address on which the proxy answers the Images API. A name is resolved once, at start; :: means IPv4 and IPv6.",
                "host",
            ),
            Option(
                "bind_port",
                Whole(0, 65535),
                "Port of the Images API. 0 takes any free one; the log tells which.",
                "port",
            ),
            Option(
                "workers",
                Whole(1, 64),
                "Processes that answer requests, each on a core of its own at most.",
            ),
            Option(
                "hang_seconds",
                Seconds(2, 3600),
                "A process of ours that shows no sign of life for so long is killed and replaced.",
            ),
            Option(
                "drain_seconds",
                Seconds(0, 86400),
                "How long a stop waits for responses in progress before it breaks them off.",
            ),
            Option(
                "connections_max",
                Whole(1, 1_000_000),
                "Client connections open at once, all workers together; more wait to be accepted.",
            ),
            Option(
                "admin_socket",
                SocketPath(),
                "Where `cacheproxy status` and the other commands reach the daemon. Owner and group may use it. Not set: admin.sock in [cache] directory.",
            ),
        ],
    ),
    Section(
        "upstream",
        UpstreamSettings,
        [
            Option(
                "url",
                ServiceUrl(),
                "The Glance behind the proxy, as in its endpoint in Keystone's catalog; a path is kept, a trailing /v2 is dropped. Must be set.",
            ),
            Option(
                "trust_upstream_hashes",
                Switch(),
                "Believe an image's os_hash_value before its bytes were seen, so that equal images are fetched once. Only for a Glance whose users cannot set hashes with locations.",
            ),
            Option(
                "connect_timeout_seconds",
                Seconds(0.1, 300),
                "Longest wait for a connection to the upstream.",
            ),
            Option(
                "read_timeout_seconds",
                Seconds(1, 3600),
                "Longest silence of the upstream in the middle of an answer.",
            ),
            Option(
                "permission_seconds",
                Seconds(0, 3600),
                "How long the upstream's word that a caller may download an image is believed. 0 asks every time.",
            ),
            Option(
                "permission_entries_max",
                Whole(1, 10_000_000),
                "How many such words each worker remembers.",
            ),
            Option(
                "gone_poll_seconds",
                Seconds(0, 7 * 86400),
                "How often the proxy's own account ([service_user]) asks, image by image, whether what is cached still exists. A catalog of cacheproxy tells by itself and is only listened to. 0: never.",
            ),
        ],
    ),
    Section(
        "cache",
        CacheSettings,
        [
            Option(
                "enabled",
                Switch(),
                "Keep image data on this node. false: everything is passed through.",
            ),
            Option(
                "directory",
                Directory(),
                "Where the cache lives; created if it is not there. Files of others in it are left alone.",
            ),
            Option(
                "image_cache_size",
                Size(MIB),
                "Hard limit for everything that the cache puts on the disk, in bytes; 10G and 10GiB mean 10737418240. May be changed while the program runs (SIGHUP).",
                "limit_bytes",
            ),
            Option(
                "free_bytes_min",
                Size(0),
                "Bytes that the cache leaves free on its file system: it shrinks while others take them, and grows to its limit again.",
            ),
            Option(
                "free_inodes_min",
                Whole(0, 1 << 40),
                "Inodes that it leaves free likewise, where the file system counts them.",
            ),
            Option(
                "disk_hang_seconds",
                Seconds(1, 300),
                "A disk that does not finish something within so long is not used until it answers again; clients are served from the upstream.",
            ),
            Option(
                "project_share",
                Whole(1, 100),
                "Percent of image_cache_size that one project may fill before its own images go first when room is needed. An image counts for the project that owns it, a piece that several share for whoever brought it in. 100: no difference is made.",
            ),
            Option(
                "eviction",
                OneOf(("adaptive", "lru")),
                "Which pieces go when room is needed. lru: those that were not used for longest. adaptive: the same, until reading whole images once, or going through more than fits again and again, would have flushed what is used more often; then that is kept, as long as it pays.",
            ),
            Option(
                "chunk_bytes",
                SizeOf(choices=(MIB // 4, MIB, 4 * MIB)),
                "Size of the pieces in which images are stored, verified and evicted. Content that is stored already keeps its own.",
            ),
            Option(
                "unproven_ranges",
                OneOf(("serve", "wait")),
                "While an image is fetched for the first time, give ranges that do not run to its end as they arrive (serve), or once the whole image matched its hash (wait).",
            ),
            Option(
                "complete_in_background",
                Switch(),
                "Fetch the rest of an image of which somebody wanted a part.",
            ),
            Option(
                "fill_streams_max",
                Whole(1, 64),
                "Reads from the upstream at once, for one image.",
            ),
            Option(
                "fill_read_bytes_max",
                Size(MIB),
                "Longest range that is read from the upstream in one request.",
            ),
            Option(
                "fills_max",
                Whole(1, 4096),
                "Images fetched at once; more wait their turn.",
            ),
            Option(
                "window_chunks",
                Whole(1, 64),
                "Chunks held open ahead of each reader.",
            ),
            Option(
                "keeper_wait_seconds",
                Seconds(2, 300),  # it gives one every second
                "After so long without a sign of life of the process that owns the cache, a response goes on from the upstream.",
            ),
            Option(
                "verify",
                OneOf(("disk-read", "always", "never")),
                "When a cached chunk is hashed and compared with its digest. disk-read: whenever any of it must come from the disk, at its first read after a start, and when its last time is longer ago than proof_seconds; what is in memory since is sent as it is. What another program has the system read from a damaged disk can be taken for it. always: each time it is sent, from the very memory that was hashed; a short range costs the hash of its whole chunk. never: not at all, only size and times of its file must be as they were; for file systems that check what they read themselves. Whatever this says, bytes are hashed when they are fetched.",
            ),
            Option(
                "proof_seconds",
                Seconds(1, 31_536_000),
                "With verify = disk-read: how long a chunk that was read and hashed may be sent from memory without being hashed again.",
            ),
            Option(
                "scrub_rate",
                Size(0),
                "Bytes per second at which all chunks are read again from the disk in the background and compared with their digests, so that damage is found before it is wanted. Less while the cache is busy. 0: never.",
            ),
            Option(
                "scrub_interval_days",
                Whole(0, 3650),
                "From the beginning of one such round to the beginning of the next, at least. A round goes on after a restart where it was.",
            ),
            Option(
                "hot_files_max",
                Whole(16, 65536),
                "Chunk files that each worker keeps open for repeated hits.",
            ),
            Option(
                "bypass_rereads_max",
                Whole(0, 1024),
                "Whole images read again at once, by each worker, to continue a response without the cache where the upstream has no ranges; beyond, 503.",
            ),
        ],
    ),
    Section(
        "metrics",
        MetricsSettings,
        [
            Option("bind_host", Host(), "Address on which Prometheus finds GET /metrics.", "host"),
            Option(
                "bind_port",
                Whole(0, 65535),
                "Port of the metrics. 0 takes any free one; the log tells which.",
                "port",
            ),
        ],
    ),
    Section(
        "service_user",
        ServiceUserSettings,
        [
            Option(
                "auth_url",
                KeystoneUrl(),
                "Keystone of the proxy's own account, which looks after cached images when no caller is there: whether they still exist. It needs a role that sees every image (admin, in stock Glance). Empty: no account.",
            ),
            Option("username", Text(), "Its name, unless it has an application credential."),
            Option(
                "password", Secret(), "Its password. Keep this file readable for the proxy only."
            ),
            Option("user_domain_name", Text(), "The domain of its name."),
            Option("project_name", Text(), "The project that its tokens are for."),
            Option("project_domain_name", Text(), "The domain of that project."),
            Option(
                "application_credential_id",
                Text(),
                "An application credential, in place of name, password and project.",
            ),
            Option("application_credential_secret", Secret(), "The secret of that credential."),
            Option("cafile", Text(), "A file of the authorities that vouch for Keystone, in PEM."),
            Option("timeout_seconds", Seconds(1, 300), "Longest wait for Keystone."),
        ],
    ),
)


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
    )
    _check_account(settings.service_user)
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
