"""What a power cut may leave of a cache directory.

    cut = PowerCut(cache, side, random.Random(seed))
    cut.synced()      # nobody uses it, everything is on the disk for good
    cut.note()        # again and again, while the store is used: remembers what there was
    ... the store's processes are killed ...
    cut.strike()      # what was not synced is lost, torn or back

The model: chunk files are never synced, so those written since `synced` may be cut, zeroed, garbled
or nameless, directories made since may be missing, what was removed or set aside since may be back.
The index loses its last commits, but not those at and before the last change of the store's state,
which it syncs: its tree is never torn.  File systems keep names in order, in a journal: files are
never more than the state promised, because those that made them so many are younger than the removals.
"""

from __future__ import annotations

import os
import random
import shutil
from contextlib import suppress
from pathlib import Path

import lmdb

from cacheproxy.store.layout import State
from harness.store_case import allocated_by_us, planted
from harness.survey import held_bytes

HARMS = ("keep", "keep", "cut", "empty", "zero", "zero the end", "garble", "lose")
COMMITS_MAX = 32  # remembered copies of the index; the oldest go
PAGE = 4096
BLOCK = 512


class PowerCut:
    """The memory of a directory's past; `side` is a directory of its own on the same disk."""

    def __init__(self, cache: Path, side: Path, chance: random.Random) -> None:
        side.mkdir()
        self._cache = cache
        self._side = side
        self._chance = chance
        self._durable: set[tuple[str, int]] = set()  # name and inode of files that are on the disk
        self._directories: set[str] = set()
        self._quarantined: set[str] = set()
        self._commits: list[Path] = []
        self._number = 0
        self.harm: list[str] = []  # what the last strike did

    # --- while it is used -------------------------------------------------------------------------

    def synced(self) -> None:
        """Everything that is there now stays, whatever happens; nobody uses the directory."""
        self.note()
        self._durable = {(path.name, path.stat().st_ino) for path in self._files()}
        self._directories = {path.name for path in (self._cache / "chunks").iterdir()}
        self._quarantined = {path.name for path in (self._cache / "quarantine").iterdir()}
        for commit in self._commits:
            commit.unlink()
        self._commits.clear()

    def note(self) -> None:
        """Remember the chunk files, so that they can come back; may miss some that come and go."""
        for path in self._files():
            kept = self._side / path.name
            if not kept.exists():
                with suppress(FileNotFoundError):
                    shutil.copyfile(path, kept)

    def note_index(self, environment: lmdb.Environment) -> None:
        """Remember the index as it is committed now."""
        place = self._side / "commit"
        place.mkdir()
        environment.copy(str(place))
        self._number += 1
        kept = self._side / f"{self._number}.mdb"
        (place / "data.mdb").rename(kept)
        place.rmdir()
        self._commits.append(kept)
        if len(self._commits) > COMMITS_MAX:
            self._commits.pop(0).unlink()

    def note_index_of_others(self) -> None:
        """Remember the index that another process has open."""
        environment = lmdb.open(str(self._cache / "index"), readonly=True, max_dbs=16)
        try:
            self.note_index(environment)
        finally:
            environment.close()

    def _files(self) -> list[Path]:
        return [path for path in self._cache.glob("chunks/??/*") if path.is_file()]

    # --- the cut ----------------------------------------------------------------------------------

    def strike(self, limit_bytes: int) -> None:
        """Leave what a power cut may; what is back stays within the limit."""
        self.harm.clear()
        self._roll_back()
        for directory in sorted((self._cache / "chunks").iterdir()):
            if directory.name not in self._directories and self._chance.random() < 0.1:
                shutil.rmtree(directory)
                self.harm.append(f"lose {directory.name}/")
        for path in sorted(self._files()):
            if (path.name, path.stat().st_ino) not in self._durable:
                self._harm(path)
        for path in sorted((self._cache / "quarantine").iterdir()):
            name = path.name.partition(".")[0]
            if len(name) != 64 or path.name in self._quarantined or self._chance.random() < 0.5:
                continue
            place = planted(self._cache, bytes.fromhex(name))
            if not place.exists():
                path.rename(place)
                self.harm.append(f"set back {name[:8]}")
        self._bring_back(limit_bytes)
        (self._cache / "staging" / f"{self._chance.randbytes(16).hex()}.part").write_bytes(b"torn")

    def _roll_back(self) -> None:
        """Give the index one of the commits that nothing has synced since."""
        index = self._cache / "index"
        (index / "lock.mdb").unlink(missing_ok=True)
        state = _state(index / "data.mdb")
        possible = [commit for commit in self._commits if _state(commit) == state]
        if possible and self._chance.random() < 0.8:
            chosen = self._chance.choice(possible)
            shutil.copyfile(chosen, index / "data.mdb")
            self.harm.append(f"index -{len(self._commits) - self._commits.index(chosen)}")

    def _harm(self, path: Path) -> None:
        harm = self._chance.choice(HARMS)
        if harm == "keep":
            return
        self.harm.append(f"{harm} {path.name[:8]}")
        path.chmod(0o640)
        size = path.stat().st_size
        match harm:
            case "cut":
                os.truncate(path, self._chance.randrange(size + 1))
            case "empty":
                os.truncate(path, 0)
            case "zero":
                path.write_bytes(bytes(size))
            case "zero the end":
                at = self._chance.randrange(size + 1)
                os.truncate(path, at)
                os.truncate(path, size)
            case "garble":
                at = self._chance.randrange(size + 1)
                with path.open("r+b") as file:
                    file.seek(at)
                    file.write(self._chance.randbytes(min(PAGE, size - at)))
            case _:
                path.unlink()

    def _bring_back(self, limit_bytes: int) -> None:
        state = State.unpack(_state(self._cache / "index/data.mdb"))
        files = [*self._files(), *(self._cache / "quarantine").iterdir()]
        taken = sum(path.stat().st_blocks * BLOCK for path in files)
        room = limit_bytes - held_bytes(self._cache, ())
        if state is not None:
            room = min(room, state.promised - taken)
        for kept in sorted(self._side.glob("?" * 64)):
            path = planted(self._cache, bytes.fromhex(kept.name))
            if path.exists() or self._chance.random() < 0.5:
                continue
            cost = kept.stat().st_blocks * BLOCK + 2 * PAGE
            if cost > room:
                break
            shutil.copyfile(kept, path)
            self.harm.append(f"back {kept.name[:8]}")
            room -= cost
            if kept.name not in {name for name, _ in self._durable}:
                self._harm(path)
        assert allocated_by_us(self._cache) <= limit_bytes


def _state(index: Path) -> bytes | None:
    """Return the store's state that an index file holds."""
    environment = lmdb.open(str(index), subdir=False, readonly=True, lock=False, max_dbs=16)
    try:
        meta = environment.open_db(b"meta", create=False)
        with environment.begin(db=meta) as reading:
            found: bytes | None = reading.get(b"state")
            return found
    finally:
        environment.close()
