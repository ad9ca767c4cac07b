from __future__ import annotations

import pytest

from backends.rbd.runs import BLOCK_BYTES, written_runs

DATA, ZEROS = b"x" * BLOCK_BYTES, bytes(BLOCK_BYTES)


@pytest.mark.parametrize(
    ("chunk", "runs"),
    [
        (b"", []),
        (b"x", [(0, 1)]),
        (b"\0", []),
        (DATA, [(0, BLOCK_BYTES)]),
        (ZEROS + b"\0", []),
        (DATA + DATA + b"x", [(0, 2 * BLOCK_BYTES + 1)]),
        (ZEROS + DATA + ZEROS, [(BLOCK_BYTES, 2 * BLOCK_BYTES)]),
        (DATA + ZEROS + b"\0x", [(0, BLOCK_BYTES), (2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 2)]),
        (DATA + ZEROS + ZEROS, [(0, BLOCK_BYTES)]),
    ],
)
def test_runs(chunk: bytes, runs: list[tuple[int, int]]) -> None:
    assert [(run.start, run.stop) for run in written_runs(chunk)] == runs
