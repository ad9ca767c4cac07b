"""The commands and files of a page of docs/, in its order, as its reader follows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"```(\w*)")
_FILE = re.compile(r"# (/\S+)")


@dataclass(frozen=True, slots=True)
class Step:
    """What the reader does next: type commands, or append text to a file (None: commands)."""

    section: str
    text: str
    file: Path | None

    @property
    def script(self) -> str:
        """What a shell does for it."""
        if self.file is None:
            return self.text
        return (
            f"mkdir -p {self.file.parent}\ncat >>{self.file} <<'END OF FILE'\n{self.text}"
            "END OF FILE\n"
        )


def steps(page: Path) -> Iterator[Step]:
    """Read a page: blocks of `sh` are typed, blocks of `ini` name their file in the first line."""
    section, kind, lines = "", None, list[str]()
    for line in page.read_text().splitlines():
        fence = _FENCE.fullmatch(line)
        if kind is None:
            if line.startswith("#"):
                section = line.lstrip("# ")
            if fence:
                kind, lines = fence[1], []
        elif fence:
            text = "".join(f"{each}\n" for each in lines)
            named = _FILE.fullmatch(lines[0])
            if kind == "sh":
                yield Step(section, text, None)
            elif kind == "ini" and named:
                yield Step(section, text, Path(named[1]))
            kind = None
        else:
            lines.append(line)
