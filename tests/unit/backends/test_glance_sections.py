"""Sections are read as oslo.config reads them: the same files, the same values."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from oslo_config import cfg

from backends.glance_sections import GlanceSections

NAMES = {"g1": ("a", "b", "c"), "g2": ("a", "b", "c"), "DEFAULT": ("d", "e", "f")}
PLACES = [(group, name) for group, names in NAMES.items() for name in names]


@st.composite
def assignments(draw: st.DrawFn) -> tuple[str, str, str]:
    """Return section, option and value; variables name later places only, so that none is endless."""
    number = draw(st.integers(0, len(PLACES) - 1))
    group, name = PLACES[number]
    later = [
        f"${{{option}}}" if other in (group, "DEFAULT") else f"${{{other}.{option}}}"
        for other, option in PLACES[number + 1 :]
    ]
    pieces = st.sampled_from(["plain", " ", "/", "$$", r"\$", "=", "é", *later])
    value = "".join(draw(st.lists(pieces, max_size=4)))
    quote = draw(st.sampled_from(["", "'", '"']))
    return {"g2": "G2"}.get(group, group), name, f"{quote}{value}{quote}"


@given(st.lists(st.lists(assignments(), max_size=6), min_size=1, max_size=2))
def test_the_same_values_as_oslo_config(files: list[list[tuple[str, str, str]]]) -> None:
    sections: dict[str, dict[str, list[str]]] = {}
    conf = cfg.ConfigOpts()
    for group, names in NAMES.items():
        options = [cfg.StrOpt(name) for name in names]
        conf.register_opts(options, group=None if group == "DEFAULT" else group)
    with tempfile.TemporaryDirectory() as directory:
        paths = []
        for number, lines in enumerate(files):
            path = Path(directory) / f"{number}.conf"
            path.write_text("".join(f"[{group}]\n{name} = {v}\n" for group, name, v in lines))
            cfg.ConfigParser(str(path), sections).parse()
            paths.append(str(path))
        conf(args=[], default_config_files=paths, default_config_dirs=[])
    read = GlanceSections(sections)
    for group, name in PLACES:
        theirs = conf[name] if group == "DEFAULT" else conf[group][name]
        try:
            ours = read.value(group, name)
        except ValueError:  # a variable that stands for nothing is refused, not left empty
            assume(False)
        assert ours == (theirs or "")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("weight", "10  # ten", "10"),
        ("path", "/a#b", "/a#b"),
        ("path", "# nothing", "# nothing"),
        ("swift_store_key", "pass # word", "pass # word"),
        ("s3_store_access_key", "a # b", "a # b"),
        ("swift_store_application_credential_secret", "a # b", "a # b"),
    ],
)
def test_comments_behind_values(name: str, text: str, value: str) -> None:
    assert GlanceSections({"s": {name: [text]}}).value("s", name) == value


def test_an_endless_variable() -> None:
    read = GlanceSections({"s": {"a": ["$b"], "b": ["$a"]}})
    with pytest.raises(ValueError, match=r"\[s\] \w: \$\w is no option that is set"):
        read.value("s", "a")
