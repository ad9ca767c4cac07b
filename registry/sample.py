"""The catalog's sample configuration: `python -m registry.sample > docs/registry.conf.sample`."""

from __future__ import annotations

import sys
import textwrap
from typing import Any

from registry.config import OPTIONS

WIDTH = 96
HEAD = """\
# Options of cacheproxy-registry; names and defaults are those of glance-api.conf.
# A line that is commented out shows the default.
# Generated from the program: python -m registry.sample > docs/registry.conf.sample
"""


def sample() -> str:
    """Return a configuration file that explains every option and sets none."""
    lines = []
    for group, options in OPTIONS.items():
        lines += ["", f"[{group}]"]
        for option in options:
            assert option.help, option.name
            lines.append("")
            lines += [f"# {line}" for line in textwrap.wrap(option.help, WIDTH)]
            shown = _shown(option.default)
            if getattr(option.type, "bounds", False):
                shown = f"[{shown}]"
            lines.append(f"#{option.name} = {shown}".rstrip())
    return HEAD + "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, dict):
        return ", ".join(f"{name}:{value}" for name, value in default.items())
    return ", ".join(default) if isinstance(default, list) else str(default)


def main() -> None:
    """Print the sample file."""
    sys.stdout.write(sample())


if __name__ == "__main__":
    main()
