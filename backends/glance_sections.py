"""Sections of a configuration in oslo.config's form, as Glance reads them.  Pure.

Section names are told apart without case (`DEFAULT` apart), the last of several values counts, and
`$name` or `${section.name}` stands for another option that is set; `$$` is a dollar sign.  Beyond
Glance, a comment may stand behind a value, but for secrets, of which it may be a part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from backends.glance_options import MULTIPLE

Sections: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]

DEFAULT = "DEFAULT"
_COMMENT = re.compile(r"\s+#.*")
_VARIABLE = re.compile(r"\$\$|\\\$|\$\{([A-Za-z_][\w.]*)\}|\$([A-Za-z_][\w.]*)", re.ASCII)
_SECRETS = ("key", "secret", "password")  # how their options' names end
_NESTED_MAX = 8  # options that name options


class GlanceSections:
    """Looks up options."""

    def __init__(self, sections: Sections) -> None:
        self._sections: dict[str, dict[str, tuple[str, ...]]] = {}
        for section, options in sections.items():
            merged = self._sections.setdefault(_normal(section), {})
            for name, values in options.items():
                merged[name] = (*merged.get(name, ()), *values)

    def value(self, section: str, name: str, default: str = "") -> str:
        """Return an option's value; `default` where it is not set."""
        values = self.values(section, name)
        return values[-1] if values else default

    def values(self, section: str, name: str) -> tuple[str, ...]:
        """Return all values of an option that may be given several times.

        ValueError, naming section and option, where a variable in it stands for nothing.
        """
        return self._values(section, name, 0)

    def chosen(self, section: str, names: Iterable[str]) -> dict[str, str]:
        """Return those of the named options that a section sets; of `MULTIPLE`, one value a line."""
        found = {name: self.values(section, name) for name in names}
        return {
            name: "\n".join(values) if name in MULTIPLE else values[-1]
            for name, values in found.items()
            if values
        }

    def _values(self, section: str, name: str, depth: int) -> tuple[str, ...]:
        found = self._sections.get(_normal(section), {}).get(name, ())
        return tuple(self._substituted(_clean(name, text), section, name, depth) for text in found)

    def _substituted(self, text: str, section: str, name: str, depth: int) -> str:
        def stands_for(match: re.Match[str]) -> str:
            variable = match[1] or match[2]
            if variable is None:
                return "$"
            group, _, option = variable.rpartition(".")
            places = [(group, option)] if group else [(section, variable), (DEFAULT, variable)]
            for place in places:
                values = self._values(*place, depth + 1) if depth < _NESTED_MAX else ()
                if values:
                    return values[-1]
            raise ValueError(
                f"[{section}] {name}: ${variable} is no option that is set; "
                "write $$ for a dollar sign"
            )

        return _VARIABLE.sub(stands_for, text)


def _normal(section: str) -> str:
    return section if section == DEFAULT else section.lower()


def _clean(name: str, text: str) -> str:
    return text if name.endswith(_SECRETS) else _COMMENT.sub("", text)
