"""Configuration files: what operators write is understood, what is wrong is said in one line."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from cacheproxy import options
from cacheproxy.config import MIB, CacheSettings, MetricsSettings, Settings, UpstreamSettings
from cacheproxy.errors import ConfigError
from cacheproxy.kinds import Secret
from cacheproxy.options import load, sample
from cacheproxy.sections import SECTIONS

REPOSITORY = Path(__file__).parents[3]

# As operators have it from their Glance, to the letter.
GLANCE_CACHE = """\
[cache]
enabled = true
directory = /var/lib/glance/cache
image_cache_size = 10737418240 # 10 GB cache size
"""

UPSTREAM = "[upstream]\nurl = http://glance.example:9292\n"


class Files:
    """Writes configuration files and loads them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.paths: list[Path] = []

    def add(self, text: str) -> Files:
        path = self.directory / f"{len(self.paths)}.conf"
        path.write_text(text)
        self.paths.append(path)
        return self

    def load(self) -> Settings:
        return load(self.paths)

    def complaint(self) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load()
        text = str(caught.value)
        assert "\n" not in text
        return text


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_the_upstream_alone_is_enough(files: Files) -> None:
    settings = files.add(UPSTREAM).load()
    assert settings == Settings(upstream=UpstreamSettings("http://glance.example:9292"))


def test_every_fixed_name(files: Files) -> None:
    settings = files.add(
        """
        # comments and blank lines
        ; of both kinds

        [DEFAULT]
        bind_host = ::1
        bind_port = 19292
        workers = 3
        [upstream]
        url = https://glance.example/image/
        trust_upstream_hashes = yes
        [cache]
        enabled = false
        directory = /srv/cache
        image_cache_size = 20G
        [metrics]
        bind_host = metrics.example
        bind_port = 0
        """.replace("\n        ", "\n")
    ).load()
    assert (settings.host, settings.port, settings.workers) == ("::1", 19292, 3)
    assert settings.upstream.url == "https://glance.example/image"
    assert settings.upstream.trust_upstream_hashes is True
    assert settings.cache == CacheSettings(
        enabled=False, directory=Path("/srv/cache"), limit_bytes=20 << 30
    )
    assert settings.metrics == MetricsSettings("metrics.example", 0)


def test_glances_own_cache_section_is_accepted_beside_ours(files: Files) -> None:
    settings = files.add(UPSTREAM).add(GLANCE_CACHE).load()
    assert settings.cache.directory == Path("/var/lib/glance/cache")
    assert settings.cache.limit_bytes == 10 << 30
    assert settings.upstream.url == "http://glance.example:9292"


def test_later_files_win_option_by_option(files: Files) -> None:
    files.add(UPSTREAM + "[cache]\nimage_cache_size = 1G\nchunk_bytes = 4M\n")
    files.add("[cache]\nimage_cache_size = 2G\n")
    settings = files.load()
    assert settings.cache.limit_bytes == 2 << 30
    assert settings.cache.chunk_bytes == 4 * MIB


def test_a_bad_value_that_a_later_file_replaces_does_not_matter(files: Files) -> None:
    files.add(UPSTREAM + "[DEFAULT]\nworkers = many\n").add("[DEFAULT]\nworkers = 2\n")
    assert files.load().workers == 2


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10737418240", 10 << 30),
        ("10G", 10 << 30),
        ("10GiB", 10 << 30),
        ("10 GiB", 10 << 30),
        ("10g", 10 << 30),
        ("512M", 512 << 20),
        ("2T", 2 << 40),
        ("1024KiB", 1 << 20),
        ('"10G"', 10 << 30),
        ("10G# glued is no comment", None),
        ("10G  # of 50", 10 << 30),
        ("10GB", None),  # would be a power of ten elsewhere
        ("1.5G", None),
        ("-1", None),
        ("0", None),
        ("1e9", None),
        ("٣٢٤٣٢٤٣٢٤", None),
        ("99999999T", None),
        ("9" * 5000, None),
        ("", None),
        ("# only a comment", None),
        ("ten", None),
    ],
)
def test_sizes(files: Files, text: str, size: int | None) -> None:
    files.add(f"{UPSTREAM}[cache]\nimage_cache_size = {text}\n")
    if size is not None:
        assert files.load().cache.limit_bytes == size
    else:
        complaint = files.complaint()
        assert "[cache] image_cache_size = " in complaint
        assert "expected bytes, plain or like 512M, 10G, 10GiB or 2T" in complaint
        assert len(complaint) < 600


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://glance.example:9292", "http://glance.example:9292"),
        ("http://glance.example:9292/", "http://glance.example:9292"),
        ("http://glance.example:9292/v2", "http://glance.example:9292"),
        ("http://glance.example:9292/v2/", "http://glance.example:9292"),
        ("https://cloud.example/image", "https://cloud.example/image"),
        ("http://cloud.example/image/v2.1", "http://cloud.example/image"),
        ("http://[2001:db8::1]:9292", "http://[2001:db8::1]:9292"),
        ("http://10.0.0.11:9292 # the old one", "http://10.0.0.11:9292"),
        ("http://a:9292/v2,https://b/image/", "http://a:9292, https://b/image"),
        ("http://a,http://b , http://c # three", "http://a, http://b, http://c"),
        (", ".join(f"http://g{n}" for n in range(8)), ", ".join(f"http://g{n}" for n in range(8))),
        (", ".join(f"http://g{n}" for n in range(9)), None),
        ("http://a, http://a/v2", None),
        ("http://a,", None),
        ("http://a http://b", None),
        ("glance.example:9292", None),
        ("ftp://glance.example", None),
        ("http://", None),
        ("http://:9292", None),
        ("http://glance.example:port", None),
        ("http://glance.example:99999", None),
        ("http://me:secret@glance.example", None),
        ("http://glance.example/?a=b", None),
        ("http://glance example", None),
        ("http://gl\u00e4nce.example", None),
        ("http://[::1", None),
        ("", None),
    ],
)
def test_upstream_urls(files: Files, text: str, url: str | None) -> None:
    files.add(f"[upstream]\nurl = {text}\n")
    if url is not None:
        assert files.load().upstream.url == url
    else:
        assert "[upstream] url = " in files.complaint()


@pytest.mark.parametrize(
    ("section", "name", "value", "expected"),
    [
        ("DEFAULT", "workers", "0", "a whole number from 1 to 64"),
        ("DEFAULT", "workers", "1.5", "a whole number from 1 to 64"),
        ("DEFAULT", "bind_port", "65536", "a whole number from 0 to 65535"),
        ("DEFAULT", "bind_port", "http", "a whole number from 0 to 65535"),
        ("DEFAULT", "bind_host", "[::1]", "an IPv4 or IPv6 address (without brackets)"),
        ("DEFAULT", "bind_host", "10.0.0.300", "an IPv4 or IPv6 address (without brackets)"),
        ("DEFAULT", "bind_host", "two words", "an IPv4 or IPv6 address (without brackets)"),
        ("DEFAULT", "hang_seconds", "soon", "seconds, from 2 to 3600"),
        ("DEFAULT", "drain_seconds", "nan", "seconds, from 0 to 86400"),
        ("upstream", "trust_upstream_hashes", "maybe", "true or false"),
        ("cache", "enabled", "", "true or false"),
        ("cache", "directory", "var/cache", "an absolute path"),
        ("cache", "directory", "/a\n  /b", "an absolute path"),
        ("cache", "chunk_bytes", "2M", "one of 256KiB, 1MiB, 4MiB"),
        ("cache", "unproven_ranges", "server", "serve or wait"),
        ("metrics", "bind_port", "-1", "a whole number from 0 to 65535"),
        ("cache", "fills_max", "$other", "a whole number from 1 to 4096"),
    ],
)
def test_bad_values_name_file_option_value_and_what_is_accepted(
    files: Files, section: str, name: str, value: str, expected: str
) -> None:
    files.add(UPSTREAM).add(f"[{section}]\n{name} = {value}\n")
    complaint = files.complaint()
    assert complaint.startswith(f"{files.paths[1]}: [{section}] {name} = ")
    assert f"is not accepted; expected {expected}" in complaint
    assert value.split("\n", maxsplit=1)[0] in complaint


def test_a_missing_upstream_is_said_with_an_example(files: Files) -> None:
    complaint = files.add("[DEFAULT]\nworkers = 1\n").complaint()
    assert complaint.startswith("[upstream] url is not set; expected http://")
    assert "http://glance.example:9292" in complaint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[cache]\nimage_cach_size = 1\n", "unknown option 'image_cach_size' in [cache]; did you mean image_cache_size?"),
        ("[DEFAULT]\nWorkers = 1\n", "unknown option 'Workers' in [DEFAULT]; did you mean workers?"),
        ("[DEFAULT]\ndirectory = /x\n", "unknown option 'directory' in [DEFAULT]; it belongs into [cache]"),
        ("[metrics]\nzzz = 1\n", "unknown option 'zzz' in [metrics]; known: bind_host, bind_port"),
        ("[cahce]\nenabled = true\n", "unknown section ['cahce']; did you mean cache?"),
        ("[default]\n", "unknown section ['default']; did you mean DEFAULT?"),
        ("[zzz]\n", "unknown section ['zzz']; known: DEFAULT, upstream, cache, metrics"),
        ("workers = 1\n", "'workers' stands before any [section]"),
        ("[cache\n", "line 1: "),
        ("[cache]\nenabled\n", "line 2: "),
        ("[cache]\n= true\n", "line 2: "),
        (" [cache]\n", "line 1: "),
    ],
)  # fmt: skip
def test_what_is_unknown_or_garbled_is_an_error_with_a_hint(
    files: Files, text: str, says: str
) -> None:
    complaint = files.add(UPSTREAM).add(text).complaint()
    assert complaint.startswith(str(files.paths[1]))
    assert says in complaint


def test_files_that_cannot_be_read(files: Files, tmp_path: Path) -> None:
    files.paths.append(tmp_path / "absent.conf")
    assert files.complaint() == f"{tmp_path}/absent.conf: cannot be read: No such file or directory"
    files.paths[:] = [tmp_path]
    assert files.complaint() == f"{tmp_path}: cannot be read: Is a directory"
    files.paths[:] = [tmp_path / "binary.conf"]
    files.paths[0].write_bytes(b"[upstream]\nurl = \xff\n")
    assert files.complaint() == f"{tmp_path}/binary.conf: is not UTF-8 text"


def test_a_file_is_read_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    read_text = Path.read_text

    def truncated_behind(path: Path, encoding: str) -> str:
        text = read_text(path, encoding=encoding)
        path.write_text("")  # somebody begins to write it anew
        return text

    files.add(UPSTREAM + "[cache]\nimage_cache_size = 10M\n")
    monkeypatch.setattr(Path, "read_text", truncated_behind)
    settings = files.load()
    assert settings.upstream.url == "http://glance.example:9292"
    assert settings.cache.limit_bytes == 10 * MIB


def test_one_port_cannot_serve_both(files: Files) -> None:
    files.add(UPSTREAM + "[metrics]\nbind_port = 9292\n")
    assert "[metrics] bind_host and bind_port are those of the Images API" in files.complaint()


def test_the_environment_changes_nothing(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_DEFAULT__WORKERS", "7")
    assert files.add(UPSTREAM).load().workers == 1


def test_every_setting_has_an_option_with_help_and_a_default_that_it_accepts() -> None:
    nested = {section.name for section in SECTIONS}
    for section in SECTIONS:
        fields = {field.name for field in dataclasses.fields(section.settings)}
        assert [o.target for o in section.options if o.target not in fields] == []
        assert fields - {o.target for o in section.options} <= (
            nested if section.name == "DEFAULT" else set()
        )
        for option in section.options:
            assert option.help.endswith(".")
            default = section.default(option)
            if default is not dataclasses.MISSING:
                assert option.kind(option.kind.show(default)) == default
                if not isinstance(option.kind, Secret):  # a `#` may be part of it
                    assert option.kind(option.kind.show(default) + " # as it is") == default


def test_the_sample_file_is_the_generated_one() -> None:
    written = (REPOSITORY / "docs" / "cacheproxy.conf.sample").read_text()
    assert written == sample(), "run: python -m cacheproxy.options > docs/cacheproxy.conf.sample"


def test_the_sample_changes_nothing_and_uncommented_means_the_defaults(files: Files) -> None:
    plain = files.add(UPSTREAM).load()
    assert files.add(sample()).load() == plain
    uncommented = re.sub(r"^#(\w+ = )", r"\1", sample(), flags=re.MULTILINE)
    files.paths.clear()
    assert (
        files.add(uncommented.replace("#url =", "url = http://glance.example:9292")).load() == plain
    )


def test_the_module_prints_the_sample(capsys: pytest.CaptureFixture[str]) -> None:
    options.main()
    assert capsys.readouterr().out == sample()


def test_an_account_needs_one_way_to_log_in(tmp_path: Path) -> None:
    file = tmp_path / "cacheproxy.conf"
    least = "[upstream]\nurl = http://glance.example:9292\n[service_user]\nauth_url = http://k/v3\n"
    file.write_text(least)
    with pytest.raises(ConfigError, match=r"\[service_user\] needs either"):
        load([file])
    file.write_text(least + "username = cacheproxy\npassword = a #1 $$ecret\n")
    assert load([file]).service_user.password == "a #1 $ecret"
