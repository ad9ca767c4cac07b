"""What `check-config` says of right and of wrong files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cacheproxy.cli.program import main


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (
            "[upstream]\nurl = http://glance.example:9292\n",
            0,
            "{file}: right; images at 127.0.0.1:9292 from http://glance.example:9292\n",
        ),
        ("[upstream]\n", 1, "cacheproxy: [upstream] url is not set; expected http://"),
        ("[upstream]\nurll = x\n", 1, "cacheproxy: {file}: unknown option 'urll' in [upstream]"),
    ],
)
def test_it_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, says: str
) -> None:
    file = tmp_path / "cacheproxy.conf"
    file.write_text(text)
    assert main(["check-config", "--config-file", str(file)]) == code
    out, err = capsys.readouterr()
    assert (err if code else out).startswith(says.format(file=file))
    assert not (out if code else err)
