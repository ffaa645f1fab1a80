"""A collection that lives, plans that are carried out, killed, refused by the disk and taken back, in any order.

Whatever comes: a file that goes has a keeper that is there, unchanged and whole; no bytes are lost but those that were
to be deleted, and these only beside their keeper; what is put back is as it was, or the difference is named.
"""

import io
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from dupegrid.core.errors import DupegridError
from dupegrid.plans.actions import Act, Placing, Stamp
from dupegrid.plans.apply import Care, apply_acts
from dupegrid.plans.journal import reading, writing
from dupegrid.plans.undo import undo_acts
from dupegrid.storage.schemas import MATCHES
from tests.conftest import picture
from tests.helpers.plans import Faults, KilledError, state

LONG = bool(os.environ.get("DUPEGRID_LONG"))
RUNS, STEPS = (int(os.environ.get("DUPEGRID_MODELS", "1000")), 50) if LONG else (10, 25)


def _encoded(seed: int, kind: str) -> bytes:
    file = io.BytesIO()
    picture(seed, (16, 12)).save(file, kind)
    return file.getvalue()


CONTENTS = [_encoded(1, "PNG"), _encoded(1, "JPEG"), _encoded(2, "PNG"), b"no picture"]
NAMES = [f"{folder}/{name}" for folder in ("x", "y") for name in ("a.png", "b.png", "c.jpg")]
ACTIONS = ("quarantine", "trash", "delete", "hardlink", "symlink", "reflink", "copy")
names, contents = st.sampled_from(NAMES), st.sampled_from(range(len(CONTENTS)))
moments = st.tuples(st.integers(0, 60), st.sampled_from(["before", "after", "refused"]))


class Collection(RuleBasedStateMachine):
    """What people and other programs do, and what dupegrid does."""

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.base = Path(tempfile.mkdtemp(prefix="dupegrid-model"))
        self.photos, self.run, self.share = (self.base / name for name in ("photos", "run", "share"))
        for folder in (self.photos / "x", self.photos / "y", self.run, self.share):
            folder.mkdir(parents=True)
        self.away = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        other = pytest.importorskip("send2trash.plat_other")
        self.patch.setenv("XDG_DATA_HOME", str(self.share))
        self.patch.setattr(other, "XDG_DATA_HOME", os.fsencode(self.share))
        self.patch.setattr(other, "HOMETRASH_B", os.fsencode(self.share / "Trash"))
        self.faults = Faults(self.patch)
        self.acts: list[Act] = []
        self.origin: dict[str, tuple[object, ...]] = {}  # by the id of an act: what was there before
        self.applies = 0
        for place, name in enumerate(NAMES[:5]):
            (self.photos / name).write_bytes(CONTENTS[(0, 0, 1, 0, 2)[place]])

    def teardown(self) -> None:
        if not hasattr(self, "patch"):
            return
        self.faults.set()
        try:
            self.undo()
        finally:
            self.patch.undo()
            for folder in (self.base, self.away):
                shutil.rmtree(folder)

    @rule(name=names, content=contents)
    def create(self, name: str, content: int) -> None:
        with suppress(FileExistsError), open(self.photos / name, "xb") as file:
            file.write(CONTENTS[content])

    @rule(name=names, content=contents, kept=st.booleans())
    def modify(self, name: str, content: int, kept: bool) -> None:
        path = self.photos / name
        if path.is_file():
            status = path.stat()
            path.write_bytes(CONTENTS[content])
            if kept:
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    @rule(name=names, new=names)
    def rename(self, name: str, new: str) -> None:
        with suppress(FileNotFoundError):
            os.rename(self.photos / name, self.photos / new)

    @rule(name=names, new=names)
    def hard_link(self, name: str, new: str) -> None:
        with suppress(OSError):
            os.link(self.photos / name, self.photos / new, follow_symlinks=False)

    @rule(name=names, new=names)
    def symbolic_link(self, name: str, new: str) -> None:
        with suppress(OSError):
            os.symlink(self.photos / name, self.photos / new)

    @rule(name=names)
    def delete(self, name: str) -> None:
        (self.photos / name).unlink(missing_ok=True)

    @rule(name=names, mode=st.sampled_from([0o600, 0o644, 0o400]))
    def change_mode(self, name: str, mode: int) -> None:
        with suppress(OSError):
            os.chmod(self.photos / name, mode)

    @precondition(lambda self: self.acts)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """From a backup: the same bytes, the same time, another inode."""
        act = data.draw(st.sampled_from(self.acts))
        bytes_of = {entry[2]: entry for entry in self.bytes_there().values()}
        if act.was.file_hash in bytes_of and not os.path.lexists(act.path):
            data_of = next(c for c in CONTENTS if _hash(c) == act.was.file_hash)
            Path(os.fsdecode(act.path)).write_bytes(data_of)
            os.utime(act.path, ns=(act.was.mtime_ns, act.was.mtime_ns))

    @rule(action=st.sampled_from(ACTIONS), keeper=names, drops=st.lists(names, min_size=1, max_size=4, unique=True))
    def plan(self, action: str, keeper: str, drops: list[str]) -> None:
        """A plan of the files as they are; what is no regular file is in none, and links are of equal files."""
        stamps = {name: self.stamp(name) for name in {keeper, *drops}}
        best = stamps[keeper]
        if best is None or best.file_hash == _hash(CONTENTS[3]):
            return
        root, self.acts = os.fsencode(self.photos), []
        aside = os.fsencode(self.away) if action == "copy" else None
        self.applies += 1
        placing = Placing((root,), f"20260101-000000-{self.applies:06x}", aside)
        for name in drops:
            was, path = stamps[name], os.fsencode(self.photos / name)
            equal = was is not None and was.file_hash == best.file_hash
            if was is None or name == keeper or (action.endswith("link") and not equal):
                continue
            to = placing.set_aside(path, root) if action in ("quarantine", "copy") else (None, b"")
            kind = "quarantine" if action == "copy" else action
            best_path = os.fsencode(self.photos / keeper)
            self.acts.append(Act(kind, path, root, was, best_path, root, best, None, None, *to, aside is not None))

    def stamp(self, name: str) -> Stamp | None:
        path = self.photos / name
        if path.is_symlink() or not path.is_file():
            return None
        s = path.stat()
        numbers = (s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_dev, s.st_ino)
        return Stamp(*numbers, _hash(path.read_bytes()))

    @rule()
    def apply(self) -> None:
        self.applied(-1, "before")

    @rule(moment=moments)
    def apply_is_stopped(self, moment: tuple[int, str]) -> None:
        self.applied(*moment)

    @rule()
    def undo(self) -> None:
        self.undone(-1, "before")

    @rule(moment=moments)
    def undo_is_stopped(self, moment: tuple[int, str]) -> None:
        self.undone(*moment)

    def there(self) -> dict[bytes, tuple[object, ...]]:
        """All files, by their paths, those in quarantines and the trash too; not the folders."""
        folders = [self.photos, self.share, self.away]
        found = {path: entry for folder in folders for path, entry in state(folder).items()}
        return {path: entry for path, entry in found.items() if entry[2] is not None and b"/info/" not in path}

    def bytes_there(self) -> dict[bytes, tuple[object, ...]]:
        return {path: entry for path, entry in self.there().items() if len(entry) == 4}

    def applied(self, at: int, kind: str) -> None:
        before, found = self.there(), None
        known = {id: act.undo for id, act in reading(self.run).acts.items()}
        self.applies += 1
        self.faults.set(at, kind)
        with suppress(KilledError, DupegridError, OSError), writing(self.run) as journal:
            id = f"20260101-000000-{self.applies:06x}"
            found = apply_acts(self.acts, journal, Care(), id, MATCHES.empty_table(), lambda _: None)
        self.faults.set()
        after = self.there()
        acts = {act.path: act for act in self.acts}
        journal = reading(self.run)
        for id, done in journal.acts.items():
            if id not in known and done.outcome != "not done":
                self.origin[id] = before[done.path]
                act = acts[done.path]
                assert after[act.keeper] == before[act.keeper], "a keeper was touched"
                assert after[act.keeper][2] == act.keeper_was.file_hash, "a keeper holds other bytes"
                assert act.keeper_was.file_hash in map(_hash, CONTENTS[:3]), "a keeper is no picture"
        may_go = {act.was.file_hash for act in self.acts if act.action == "delete"}
        self.no_bytes_lost(before, after, may_go)
        touched = {done.path for done in journal.acts.values()}
        self.others_untouched(before, after, touched)
        for row in found.rows if found else ():
            path = os.fsencode(row.path)
            if (
                row.outcome in ("skipped", "missing")
                and row.action != "settle"
                and path not in _unsettled(known, journal)
            ):
                assert after.get(path) == before.get(path) or row.reason, row
                assert row.reason
        assert not found or len([row for row in found.rows if row.action != "settle"]) == len(self.acts)

    def undone(self, at: int, kind: str) -> None:
        before, found = self.there(), None
        known = {id: act.undo for id, act in reading(self.run).acts.items()}
        self.faults.set(at, kind)
        with suppress(KilledError, DupegridError, OSError), writing(self.run) as journal:
            found = undo_acts(journal, lambda _done: True, lambda _: None)
        self.faults.set()
        after, journal = self.there(), reading(self.run)
        self.no_bytes_lost(before, after, set())
        self.others_untouched(before, after, {done.path for done in journal.acts.values()})
        told = {os.fsencode(row.path) for row in found.rows if row.reason} if found else set()
        if found is None:
            return
        for id, done in journal.acts.items():
            if done.undo == "done" and known.get(id) is None and done.path not in told:
                assert after[done.path] == self.origin[id], "what was put back is not as it was"
            assert not done.is_standing or done.path in told, "what is not put back is not named"
            assert done.outcome is not None or done.path in told
        left = [path for path in after if b".dupegrid-" in path]
        standing = [done.value("to") for done in journal.acts.values() if done.is_standing or done.outcome is None]
        unsettled = any(done.outcome is None or done.undo == "meant" for done in journal.acts.values())
        assert unsettled or told or set(left) <= set(standing), "something of ours is left"

    def no_bytes_lost(
        self, before: dict[bytes, tuple[object, ...]], after: dict[bytes, tuple[object, ...]], may_go: set[str | None]
    ) -> None:
        held = [{entry[2] for entry in there.values() if len(entry) == 4} for there in (before, after)]
        assert held[0] - held[1] <= may_go, "bytes are lost"

    def others_untouched(
        self, before: dict[bytes, tuple[object, ...]], after: dict[bytes, tuple[object, ...]], touched: set[bytes]
    ) -> None:
        ours = {path for path in before | after if b".dupegrid-" in path or b"/Trash/" in path}
        for path in (before.keys() | after.keys()) - touched - ours:
            assert before.get(path) == after.get(path), f"{path!r} was touched"


def _unsettled(known: dict[str, str | None], journal: object) -> set[bytes]:
    return {done.path for id, done in journal.acts.items() if id in known}


def _hash(data: bytes) -> str:
    from hashlib import blake2b

    return blake2b(data, digest_size=16).hexdigest()


@pytest.mark.slow
def test_a_collection_that_lives_loses_nothing() -> None:
    run_state_machine_as_test(
        Collection,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not LONG,
            suppress_health_check=list(HealthCheck),
        ),
    )
