"""The rules in force: Glance's, with an operator's over them, judged by oslo.policy.

Judging neither waits nor reads: the files are read in a thread, at the start and when they change.
A changed file that cannot be read changes nothing, and is told in the log.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from oslo_config import cfg
from oslo_policy import policy

from registry.domain.identity import Identity
from registry.errors import ConfigError
from registry.policy.options import PolicySettings
from registry.policy.rules import RULES, Rule

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 5.0  # how late a changed file is seen, at most
_BEFORE = "Wallaby or 2025.1"

ANSWERS_MAX = 65536  # remembered, about 100 bytes each beside their callers
_NAME = re.compile(r"%\(([^)]*)\)")
_ABSENT = object()

_Question: TypeAlias = tuple[str, Identity, tuple[Any, ...]]
Fingerprint: TypeAlias = tuple[tuple[str, int, int], ...]  # path, size, time of change


class _Reading:
    """The rules as they were read once, and the answers that they gave.

    oslo.policy takes a fifth of a millisecond for an answer, and a list has many images; but an
    answer depends only on the caller and on what the rule reads of the target, so that few differ.
    """

    def __init__(self, enforcer: policy.Enforcer, fingerprint: Fingerprint) -> None:
        self.enforcer = enforcer
        self.fingerprint = fingerprint
        self._names: dict[str, tuple[str, ...]] = {}
        self._answers: dict[_Question, bool] = {}

    def answer(self, rule: str, identity: Identity, target: Mapping[str, Any]) -> bool:
        names = self._names.get(rule)
        if names is None:
            names = self._names[rule] = tuple(sorted(_names(self.enforcer, rule)))
        question = (rule, identity, tuple(target.get(name, _ABSENT) for name in names))
        answer = self._answers.get(question)
        if answer is None:
            answer = bool(self.enforcer.authorize(rule, target, _shown(identity)))
            self._remember(question, answer=answer)
        return answer

    def judge(self, rule: str, identity: Identity) -> bool:
        question = (f"rule:{rule}", identity, ())
        answer = self._answers.get(question)
        if answer is None:
            check = policy.RuleCheck("rule", rule)
            answer = bool(self.enforcer.enforce(check, {}, _shown(identity)))
            self._remember(question, answer=answer)
        return answer

    def _remember(self, question: _Question, *, answer: bool) -> None:
        if len(self._answers) >= ANSWERS_MAX:
            self._answers.clear()
        self._answers[question] = answer


class Policy:
    """What callers may do: `registry.domain.identity.Rules`."""

    def __init__(self, settings: PolicySettings) -> None:
        """Blocks for reading the files; `ConfigError` if there is a mistake in them."""
        self._settings = settings
        self._reading = _read(settings)

    @property
    def owners_only(self) -> bool:
        """True with the rules of before, which leave that to the program."""
        return not self._settings.new_defaults

    def allow(self, rule: str, identity: Identity, target: Mapping[str, Any]) -> bool:
        """Tell what a rule says, which must be one of `RULES`."""
        return self._reading.answer(rule, identity, target)

    def judge(self, rule: str, identity: Identity) -> bool:
        """Tell what a rule says that need not be one of `RULES`; one that is nowhere, the default."""
        return self._reading.judge(rule, identity)

    async def watch(self) -> None:
        """Read the files again as they change; never returns."""
        seen = self._reading.fingerprint
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            seen = await self.look(seen)

    async def look(self, seen: Fingerprint) -> Fingerprint:
        """Read the files if they are not those that were `seen`; return how they look."""
        now = await asyncio.to_thread(_fingerprint, self._settings)
        if now == seen:
            return seen
        try:
            self._reading = await asyncio.to_thread(_read, self._settings)
        except ConfigError as error:
            LOG.error("the rules stay as they were: %s", error)  # noqa: TRY400  # it says all
            return now
        LOG.info("the rules have been read again")
        return self._reading.fingerprint


def _shown(identity: Identity) -> dict[str, Any]:
    """Return what rules may ask of a caller, by oslo.context's names."""
    return {
        "user_id": identity.user_id,
        "user_domain_id": identity.user_domain_id,
        "project_id": identity.project_id,
        "project_domain_id": identity.project_domain_id,
        "domain_id": identity.domain_id,
        "system_scope": identity.system_scope,
        "roles": list(identity.roles),
        "is_admin": identity.is_admin,
        "is_admin_project": identity.is_admin_project,
        "service_user_id": identity.service_user_id,
        "service_project_id": identity.service_project_id,
        "service_roles": list(identity.service_roles),
        # As they were called before, in policy files that are still about.
        "user": identity.user_id,
        "tenant": identity.project_id,
    }


def _read(settings: PolicySettings) -> _Reading:
    fingerprint = _fingerprint(settings)
    file = _found(settings, settings.file)
    if settings.file != PolicySettings().file and not file.exists():
        LOG.warning("[oslo_policy] policy_file: there is no %s, the defaults count", file)
    configuration = cfg.ConfigOpts()
    configuration(args=[], default_config_files=[], default_config_dirs=[])
    enforcer = policy.Enforcer(
        configuration,
        policy_file=str(file),
        default_rule=settings.default_rule,
        use_conf=True,
        overwrite=False,
    )
    directories = [str(_found(settings, name)) for name in settings.directories]
    configuration.set_override("policy_dirs", directories, group="oslo_policy")
    configuration.set_override("enforce_new_defaults", settings.new_defaults, group="oslo_policy")
    # Deployments that keep old rules know it; the page says what they were.
    enforcer.suppress_default_change_warnings = True
    enforcer.suppress_deprecation_warnings = True
    enforcer.register_defaults([_default(rule) for rule in RULES])
    try:
        enforcer.load_rules()
    except (ValueError, OSError, AttributeError, TypeError, cfg.Error) as error:
        # It takes a mapping of texts for granted, which YAML need not be.
        raise ConfigError(f"[oslo_policy] {' '.join(str(error).split())}") from None
    for name, check in enforcer.rules.items():
        if any(getattr(each, "kind", None) in {"http", "https"} for each in _checks(check)):
            raise ConfigError(f"[oslo_policy] {name}: rules that ask another server are not taken")
    enforcer.use_conf = False  # it would look at the files at every question
    return _Reading(enforcer, fingerprint)


def _default(rule: Rule) -> policy.RuleDefault:
    deprecated = None
    if rule.before is not None:
        deprecated = policy.DeprecatedRule(
            rule.name, rule.before, deprecated_reason=rule.meaning, deprecated_since=_BEFORE
        )
    return policy.RuleDefault(
        rule.name,
        rule.check,
        description=rule.meaning,
        deprecated_rule=deprecated,
        scope_types=["project"] if rule.project_only else None,
    )


def _checks(check: Any) -> Iterator[Any]:
    """Walk a tree of checks."""
    yield check
    for each in (*getattr(check, "rules", ()), *filter(None, [getattr(check, "rule", None)])):
        yield from _checks(each)


def _names(enforcer: policy.Enforcer, rule: str) -> set[str]:
    """Return what a rule, with those that it refers to, reads of a target."""
    names: set[str] = set()
    followed, following = {rule}, [rule]
    while following:
        try:
            meant = enforcer.rules[following.pop()]  # the default one, if it is nowhere
        except KeyError:
            continue
        for check in _checks(meant):
            match = getattr(check, "match", "")
            names.update(_NAME.findall(match))
            if getattr(check, "kind", None) == "rule" and match not in followed:
                followed.add(match)
                following.append(match)
    return names


def _found(settings: PolicySettings, name: str) -> Path:
    """Return where a file or directory of rules is, or would be."""
    places = [file.parent / name for file in reversed(settings.beside)] or [Path(name)]
    return next((place for place in places if place.exists()), places[0]).absolute()


def _fingerprint(settings: PolicySettings) -> Fingerprint:
    seen = []
    for name in (settings.file, *settings.directories):
        path = _found(settings, name)
        try:
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                status = file.stat()
                seen.append((str(file), status.st_size, status.st_mtime_ns))
        except OSError:
            continue  # not there, or not to be read, as reading it will tell
    return tuple(seen)
