"""The rules in force: Glance's, an operator's over them, and files that change."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from oslo_policy.policy import PolicyNotRegistered

from registry.domain.identity import Identity
from registry.errors import ConfigError
from registry.policy import policy as module
from registry.policy.options import PolicySettings
from registry.policy.policy import Policy

OURS = {"project_id": "p", "owner": "p", "visibility": "private"}


def caller(*roles: str, **more: Any) -> Identity:
    return Identity("p", "u", is_admin=False, roles=frozenset(roles), **more)


@pytest.fixture
def settings(tmp_path: Path) -> PolicySettings:
    return PolicySettings(beside=(tmp_path / "glance-api.conf",))


def test_without_a_file_the_defaults_count(
    settings: PolicySettings, caplog: pytest.LogCaptureFixture
) -> None:
    policy = Policy(settings)
    assert not policy.owners_only
    assert policy.allow("add_image", caller("member"), OURS)
    assert not policy.allow("add_image", caller("reader"), OURS)
    assert not policy.allow("add_image", caller("member"), {**OURS, "owner": "q"})
    assert policy.allow("publicize_image", caller("admin"), OURS)
    assert not policy.allow("publicize_image", caller("member"), OURS)
    assert caplog.messages == []
    with pytest.raises(PolicyNotRegistered):
        policy.allow("no such rule", caller("admin"), OURS)


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        ({}, True),
        ({"domain_id": "d"}, False),
        ({"system_scope": "all"}, False),
    ],
)
def test_only_tokens_for_a_project_are_taken(
    settings: PolicySettings, more: dict[str, str], allowed: bool
) -> None:
    assert Policy(settings).allow("get_images", caller("admin", **more), OURS) is allowed


def test_an_operators_rules_count_instead(tmp_path: Path, settings: PolicySettings) -> None:
    (tmp_path / "policy.yaml").write_text(
        '"publicize_image": "role:publisher"\n'
        '"editors": "role:editor or user_id:%(owner_id)s"\n'
        '"modify_image": "rule:editors"\n'
        '"get_images": "service_roles:service"\n'
        '"get_image": "tenant:%(owner)s"\n'
    )
    policy = Policy(settings)
    assert policy.allow("publicize_image", caller("publisher"), OURS)
    assert not policy.allow("publicize_image", caller("admin"), OURS)
    assert policy.allow("modify_image", caller("editor"), OURS)
    assert policy.allow("modify_image", caller(), {"owner_id": "u"})
    assert not policy.allow("modify_image", caller("member"), OURS)
    assert policy.allow("get_images", caller(service_roles=frozenset({"service"})), OURS)
    assert not policy.allow("get_images", caller("reader"), OURS)
    assert policy.allow("get_image", caller(), OURS)
    assert policy.allow("upload_image", caller("member"), OURS)  # a default, still


def test_directories_count_more(tmp_path: Path, settings: PolicySettings) -> None:
    (tmp_path / "policy.yaml").write_text('"get_images": "!"\n"add_image": "!"\n')
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "policy.d/1.yaml").write_text('"get_images": "role:one"\n')
    (tmp_path / "policy.d/2.yaml").write_text('"get_images": "role:two"\n')
    policy = Policy(settings)
    assert policy.allow("get_images", caller("two"), OURS)
    assert not policy.allow("get_images", caller("one"), OURS)
    assert not policy.allow("add_image", caller("member"), OURS)


def test_the_rules_of_before(tmp_path: Path) -> None:
    policy = Policy(PolicySettings(new_defaults=False, beside=(tmp_path / "x.conf",)))
    assert policy.owners_only
    assert policy.allow("modify_image", caller(), OURS)
    assert not policy.allow("publicize_image", caller(), OURS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('"get_image": "role:x"\n"get_image', "get_image"),
        ("- a\n- list\n", r"\[oslo_policy\]"),
        ('"get_image": 1\n', r"\[oslo_policy\]"),
        ('"get_image": "role:x and not http://elsewhere/%(id)s"\n', "another server"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, settings: PolicySettings, text: str, told: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(ConfigError, match=told) as caught:
        Policy(settings)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_asked_for_and_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Policy(PolicySettings(file="rules.yaml", beside=(tmp_path / "x.conf",)))
    assert "there is no" in caplog.text
    assert "rules.yaml" in caplog.text


def test_an_answer_is_remembered_for_what_the_rule_reads(
    settings: PolicySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.yaml").write_text(
        '"get_image": "not rule:foreign"\n"foreign": "rule:nowhere"\n'
        '"default": "\'away\':%(place)s"\n'
    )
    policy = Policy(settings)
    asked: list[str] = []
    judge = policy._reading.enforcer

    class Counted:
        rules = judge.rules

        def authorize(self, rule: str, *more: Any) -> Any:
            asked.append(rule)
            return judge.authorize(rule, *more)

    monkeypatch.setattr(policy._reading, "enforcer", Counted())
    monkeypatch.setattr(module, "ANSWERS_MAX", 3)
    here, away = {"place": "here", "name": "1"}, {"place": "away"}
    assert policy.allow("get_image", caller(), here)
    assert policy.allow("get_image", caller(), {**here, "name": "2"})
    assert len(asked) == 1
    assert not policy.allow("get_image", caller(), away)
    assert policy.allow("get_image", caller("other"), here)
    assert policy.allow("get_image", caller(), {})
    assert len(asked) == 4
    assert not policy.allow("get_image", caller(), away)
    assert len(asked) == 5  # the memory was full, and begins anew


async def test_a_file_that_changes_is_read_again(
    tmp_path: Path, settings: PolicySettings, caplog: pytest.LogCaptureFixture
) -> None:
    policy, file = await asyncio.to_thread(Policy, settings), tmp_path / "policy.yaml"
    seen = await policy.look(())
    assert seen == ()
    file.write_text('"get_images": "role:new"\n')
    seen = await policy.look(seen)
    assert policy.allow("get_images", caller("new"), OURS)
    read = policy._reading
    assert await policy.look(seen) == seen
    assert policy._reading is read  # nothing has changed
    file.write_text('"get_images": "role:\n')
    os.utime(file, (1, 1))
    with caplog.at_level(logging.ERROR):
        seen = await policy.look(seen)
        assert await policy.look(seen) == seen
    assert caplog.text.count("the rules stay as they were") == 1
    assert policy.allow("get_images", caller("new"), OURS)
    file.unlink()
    await policy.look(seen)
    assert not policy.allow("get_images", caller("new"), OURS)
