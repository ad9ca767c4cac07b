"""The file of property protections, read once; the form and what it means are Glance's.

    [^x_owner_.*]               a regular expression, searched for in the name of a property
    create = admin,member       roles, or one rule of the policy file (`rule_format`)
    read = @                    everybody
    update = !                  nobody, as where nothing stands
    delete = admin

The first section that matches a name decides, and a name that none matches is nobody's.  The
catalog's own properties (os_glance…) are not protected, whatever stands there.
"""

from __future__ import annotations

import configparser
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import get_args

from registry.domain.fields import RESERVED_PREFIX
from registry.domain.identity import Identity
from registry.domain.protection import Use
from registry.errors import ConfigError
from registry.protections.options import ProtectionSettings, RuleFormat

LOG = logging.getLogger(__name__)

NAMES_MAX = 4096  # of properties whose section is remembered
USES: tuple[Use, ...] = get_args(Use)
EVERYBODY, NOBODY = "@", "!"
_OPTION = "[DEFAULT] property_protection_file"


@dataclass(frozen=True, slots=True)
class Section:
    """Who may make which use of the properties whose names match."""

    pattern: re.Pattern[str]
    permitted: Mapping[Use, frozenset[str]]


class PropertyProtections:
    """What the file lets callers do: `registry.domain.protection.Protections`."""

    def __init__(self, sections: tuple[Section, ...], rule_format: RuleFormat) -> None:
        self._sections = sections
        self._by_roles = rule_format == "roles"
        self._deciding = lru_cache(NAMES_MAX)(self._find)

    def allow(self, use: Use, name: str, identity: Identity) -> bool:
        """Tell whether a caller may make that use of a property; a service's roles count too."""
        section = self._deciding(name)
        if section is None:
            return False
        permitted = section.permitted[use]
        if NOBODY in permitted or not permitted:
            return False
        if EVERYBODY in permitted:
            return True
        roles = identity.roles | identity.service_roles
        if self._by_roles:
            return not permitted.isdisjoint(roles)
        both = replace(identity, roles=roles)
        return all(identity.rules.judge(rule, both) for rule in permitted)

    def _find(self, name: str) -> Section | None:
        return next((each for each in self._sections if each.pattern.search(name)), None)


def load_protections(settings: ProtectionSettings) -> PropertyProtections:
    """Read the file; `ConfigError` says what is wrong with it, or that it is not there."""
    places = [file.parent / settings.file for file in reversed(settings.beside)]
    path = next((place for place in places if place.exists()), Path(settings.file)).absolute()
    parser = configparser.ConfigParser()
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file, str(path))
        found = [
            _section(name, parser[name], settings.rule_format)
            for name in parser.sections()
            if not name.startswith(RESERVED_PREFIX)
        ]
    except OSError as error:
        raise ConfigError(f"{_OPTION}: {path} cannot be read: {error.strerror}") from None
    except (configparser.Error, UnicodeError) as error:
        raise ConfigError(f"{_OPTION}: {path}: {' '.join(str(error).split())}") from None
    own = Section(re.compile(f"{RESERVED_PREFIX}.*"), dict.fromkeys(USES, frozenset({EVERYBODY})))
    return PropertyProtections((own, *found), settings.rule_format)


def _section(name: str, written: configparser.SectionProxy, rule_format: RuleFormat) -> Section:
    try:
        pattern = re.compile(name)
    except re.error as error:
        raise ConfigError(f"{_OPTION}: [{name}] is no regular expression: {error}") from None
    permitted = {}
    for use in USES:
        text = written.get(use)
        if text is None:
            raise ConfigError(f"{_OPTION}: [{name}] does not say who may {use}")
        if not text:
            LOG.warning("%s: [%s] %s is empty: nobody may", _OPTION, name, use)
        permitted[use] = _read(f"[{name}] {use} = {text}", text, rule_format)
    return Section(pattern, permitted)


def _read(where: str, text: str, rule_format: RuleFormat) -> frozenset[str]:
    if not text:
        return frozenset()
    if rule_format == "policies":
        if "," in text:
            raise ConfigError(f"{_OPTION}: {where}: one rule only; combine them in the policy file")
        return frozenset({text})
    roles = frozenset(each.strip().lower() for each in text.split(","))
    if {EVERYBODY, NOBODY} <= roles:
        raise ConfigError(f"{_OPTION}: {where}: everybody (@) and nobody (!)")
    return roles
