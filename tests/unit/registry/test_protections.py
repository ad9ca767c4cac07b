"""Property protections: files that are wrong, and which section decides."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from registry.config import load_settings
from registry.domain.identity import Identity
from registry.domain.protection import Use
from registry.errors import ConfigError
from registry.protections.options import ProtectionSettings, RuleFormat
from registry.protections.protections import PropertyProtections, load_protections

OPEN = "create = @\nread = @\nupdate = @\ndelete = @\n"


def load(
    directory: Path, text: str, rule_format: RuleFormat = "roles", name: str = "protections.conf"
) -> PropertyProtections:
    (directory / "protections.conf").write_text(text)
    return load_protections(
        ProtectionSettings(name, rule_format, beside=(directory / "registry.conf",))
    )


def caller(*roles: str, service_roles: tuple[str, ...] = ()) -> Identity:
    return Identity(
        "p", "u", is_admin=False, roles=frozenset(roles), service_roles=frozenset(service_roles)
    )


def allowed(protections: PropertyProtections, name: str, identity: Identity) -> set[Use]:
    uses: tuple[Use, ...] = ("create", "read", "update", "delete")
    return {use for use in uses if protections.allow(use, name, identity)}


def test_the_first_section_that_matches_decides(tmp_path: Path) -> None:
    rest = "[^a]\ncreate = @\nread = @\nupdate = !\ndelete = Editor, admin\n[.*]\n" + OPEN
    protections = load(tmp_path, rest)
    assert allowed(protections, "abc", caller()) == {"create", "read"}
    assert allowed(protections, "abc", caller("editor")) == {"create", "read", "delete"}
    assert allowed(protections, "b a", caller()) == {"create", "read", "update", "delete"}


def test_a_name_without_a_section_is_nobodys(tmp_path: Path) -> None:
    protections = load(tmp_path, f"[^a$]\n{OPEN}")
    assert allowed(protections, "ab", caller("admin")) == set()


def test_the_catalogs_own_properties_are_not_protected(tmp_path: Path) -> None:
    shut = OPEN.replace("@", "!")
    protections = load(tmp_path, f"[os_glance_x]\n{shut}[.*]\n{shut}")
    assert len(allowed(protections, "os_glance_x", caller())) == 4


def test_the_roles_of_a_service_count_too(tmp_path: Path) -> None:
    protections = load(tmp_path, "[a]\ncreate = service\nread = service\nupdate = x\ndelete = !")
    assert allowed(protections, "a", caller(service_roles=("service",))) == {"create", "read"}


def test_where_nothing_stands_is_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        protections = load(tmp_path, "[a]\ncreate = @\nread =\nupdate = @\ndelete = @")
    assert allowed(protections, "a", caller("admin")) == {"create", "update", "delete"}
    assert "[a] read is empty: nobody may" in caplog.text


@pytest.mark.parametrize(
    ("text", "rule_format", "complaint"),
    [
        (f"[(]\n{OPEN}", "roles", "[(] is no regular expression"),
        ("[a]\ncreate = @", "roles", "[a] does not say who may read"),
        (OPEN, "roles", "no section headers"),
        (f"[a]\n{OPEN}[a]\n{OPEN}", "roles", "already exists"),
        (f"[a]\n{OPEN.replace('@', '@,!')}", "roles", "everybody (@) and nobody (!)"),
        (f"[a]\n{OPEN.replace('@', 'one,two')}", "policies", "one rule only"),
        (f"[a]\n{OPEN.replace('@', '%(b)s')}", "roles", "b"),
    ],
)
def test_files_that_are_wrong(
    tmp_path: Path, text: str, rule_format: RuleFormat, complaint: str
) -> None:
    with pytest.raises(ConfigError, match="property_protection_file") as caught:
        load(tmp_path, text, rule_format)
    assert complaint in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, "", name="elsewhere.conf")


def test_rules_need_callers_that_are_known(tmp_path: Path) -> None:
    file = tmp_path / "registry.conf"
    file.write_text(
        "[DEFAULT]\nproperty_protection_file = a\nproperty_protection_rule_format = policies\n"
    )
    with pytest.raises(ConfigError, match="flavor = keystone"):
        load_settings([file])
    file.write_text("[DEFAULT]\nproperty_protection_file = a\n")
    assert load_settings([file]).protections == ProtectionSettings("a", beside=(file,))
