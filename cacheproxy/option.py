"""What an option of a configuration file is, and a section of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cacheproxy.kinds import Kind


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
