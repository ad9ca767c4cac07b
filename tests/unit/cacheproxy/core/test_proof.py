"""Proofs: of one file, for a time, and not too many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cacheproxy.core.proof import Identity, Proofs

IDENTITY = Identity(1, 2, 3, 4, 5)


def test_a_proof_is_known_until_it_is_too_old() -> None:
    proofs = Proofs(seconds=10)
    proofs.remember(b"d", IDENTITY, at=100)
    assert proofs.known(b"d", now=109.9) == (IDENTITY, 100)
    assert proofs.known(b"d", now=110) is None
    assert len(proofs) == 0


def test_a_new_proof_takes_the_place_of_the_old() -> None:
    proofs = Proofs(seconds=10)
    proofs.remember(b"d", IDENTITY, at=100)
    other = Identity(1, 2, 3, 4, 6)
    proofs.remember(b"d", other, at=105)
    assert proofs.known(b"d", now=112) == (other, 105)
    assert len(proofs) == 1


def test_a_forgotten_proof_is_not_known() -> None:
    proofs = Proofs(seconds=10)
    proofs.remember(b"d", IDENTITY, at=100)
    proofs.forget(b"d")
    proofs.forget(b"never was")
    assert proofs.known(b"d", now=100) is None


def test_the_least_recently_used_proof_goes_first() -> None:
    proofs = Proofs(seconds=10, entries_max=2)
    proofs.remember(b"a", IDENTITY, at=0)
    proofs.remember(b"b", IDENTITY, at=0)
    assert proofs.known(b"a", now=0) is not None
    proofs.remember(b"c", IDENTITY, at=0)
    assert [proofs.known(name, now=0) is not None for name in (b"a", b"b", b"c")] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("change", ["write", "truncate", "replace", "times"])
def test_any_change_of_a_file_changes_its_identity(tmp_path: Path, change: str) -> None:
    path = tmp_path / "chunk"
    path.write_bytes(b"1234")
    before = Identity.of(path.stat())
    assert Identity.of(path.stat()) == before
    # The kernel's clock for these times ticks; the two looks must not fall into one tick.
    os.utime(path, ns=(0, 0))
    moved = Identity.of(path.stat())
    if change == "write":
        path.write_bytes(b"5678")
    elif change == "truncate":
        os.truncate(path, 3)
    elif change == "replace":
        other = tmp_path / "other"
        other.write_bytes(b"1234")
        other.rename(path)
    else:
        os.utime(path, ns=(0, 2))
    assert Identity.of(path.stat()) not in (before, moved)
