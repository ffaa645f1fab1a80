"""A collection that lives, plans that are carried out, killed, refused by the disk and taken back, in any order.

Whatever comes: a file that goes has a keeper that is there, unchanged and whole; no bytes are lost but those that were
to be deleted, and these only beside their keeper; what is put back is as it was, or the difference is named.
"""

import io
import os
import shutil
import stat
import tempfile
from collections import Counter
from contextlib import suppress
from inspect import signature
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from dupegrid.core.errors import DupegridError
from dupegrid.plans.actions import Act, Placing, Stamp
from dupegrid.plans.apply import Care, apply_acts
from dupegrid.plans.journal import reading, writing
from dupegrid.plans.undo import undo_acts
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import MATCHES
from tests.conftest import picture
from tests.helpers.plans import Faults, KilledError, state, trash_in

LONG = bool(os.environ.get("DUPEGRID_LONG"))
RUNS, STEPS = (int(os.environ.get("DUPEGRID_MODELS", "1000")), 50) if LONG else (6, 20)


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
        trash_in(self.base, self.patch)
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
        self.restored(data.draw(st.sampled_from(self.acts)))

    def restored(self, act: Act) -> None:
        bytes_of = {entry[2]: entry for entry in self.bytes_there().values()}
        if act.was.file_hash in bytes_of and not os.path.lexists(act.path):
            data_of = next(c for c in CONTENTS if _hash(c) == act.was.file_hash)
            Path(os.fsdecode(act.path)).write_bytes(data_of)
            os.utime(act.path, ns=(act.was.mtime_ns, act.was.mtime_ns))

    @rule(action=st.sampled_from(ACTIONS), keeper=st.integers(0, 99), drops=st.integers(1, 4))
    def plan(self, action: str, keeper: int, drops: int) -> None:
        """A plan of the files as they are; what is no regular file is in none, and links are of equal files."""
        stamps = {name: stamp for name in NAMES if (stamp := self.stamp(name)) is not None}
        wholes = [name for name, stamp in stamps.items() if stamp.file_hash != _hash(CONTENTS[3])]
        if not wholes:
            return
        kept = wholes[keeper % len(wholes)]
        root, best, best_path = os.fsencode(self.photos), stamps.pop(kept), os.fsencode(self.photos / kept)
        aside = os.fsencode(self.away) if action == "copy" else None
        self.acts, self.applies = [], self.applies + 1
        placing = Placing((root,), f"20260101-000000-{self.applies:06x}", aside)
        for name, was in sorted(stamps.items(), key=lambda item: item[1].file_hash != best.file_hash)[:drops]:
            path = os.fsencode(self.photos / name)
            if action.endswith("link") and was.file_hash != best.file_hash:
                continue
            to = placing.set_aside(path, root) if action in ("quarantine", "copy") else (None, b"")
            kind = "quarantine" if action == "copy" else action
            self.acts.append(Act(kind, path, root, was, best_path, root, best, None, None, *to, aside is not None))

    @rule(
        action=st.sampled_from(ACTIONS), keeper=st.integers(0, 99), drops=st.integers(1, 4), moment=st.none() | moments
    )
    def plan_and_apply(self, action: str, keeper: int, drops: int, moment: tuple[int, str] | None) -> None:
        self.plan(action, keeper, drops)
        self.applied(*(moment or (-1, "before")))

    @rule(content=contents)
    def create_many(self, content: int) -> None:
        for name in NAMES:
            self.create(name, content)

    def stamp(self, name: str) -> Stamp | None:
        path = self.photos / name
        if path.is_symlink() or not path.is_file():
            return None
        s = path.stat()
        numbers = (s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_dev, s.st_ino)
        return Stamp(*numbers, _hash(path.read_bytes()))

    @precondition(lambda self: self.acts)
    @rule()
    def apply(self) -> None:
        self.applied(-1, "before")

    @precondition(lambda self: self.acts)
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
        known = {id: act.undo for id, act in reading(RunDir(self.run)).acts.items()}
        self.applies += 1
        self.faults.set(at, kind)
        with suppress(KilledError, DupegridError, OSError), writing(RunDir(self.run)) as journal:
            id = f"20260101-000000-{self.applies:06x}"
            found = apply_acts(self.acts, journal, Care(), id, MATCHES.empty_table(), lambda _: None)
        self.faults.set()
        after = self.there()
        acts = {act.path: act for act in self.acts}
        journal = reading(RunDir(self.run))
        for id, done in journal.acts.items():
            if id not in known and done.outcome != "not done":
                was = done.meant["was"]  # of a file that was put back first, in the same apply
                known_as = stat.S_IFREG, stat.S_IMODE(was["mode"]), was["hash"], was["mtime_ns"]
                self.origin[id] = before.get(done.path, known_as)
                if self.origin[id][0] != stat.S_IFREG or self.origin[id][2] != was["hash"]:
                    self.origin[id] = known_as
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
                assert row.reason
                assert after.get(path) == before.get(path), row
        assert not found or len([row for row in found.rows if row.action != "settle"]) == len(self.acts)

    def undone(self, at: int, kind: str) -> None:
        before, found = self.there(), None
        known = {id: act.undo for id, act in reading(RunDir(self.run)).acts.items()}
        self.faults.set(at, kind)
        with suppress(KilledError, DupegridError, OSError), writing(RunDir(self.run)) as journal:
            found = undo_acts(journal, lambda _done: True, lambda _: None)
        self.faults.set()
        after, journal = self.there(), reading(RunDir(self.run))
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
        held = [
            {entry[2] for path, entry in there.items() if len(entry) == 4 and not path.endswith(b".copy")}
            for there in (before, after)
        ]
        assert held[0] - held[1] <= may_go, "bytes are lost"

    def others_untouched(
        self, before: dict[bytes, tuple[object, ...]], after: dict[bytes, tuple[object, ...]], touched: set[bytes]
    ) -> None:
        ours = {path for path in before | after if b".dupegrid-" in path or b"/Trash/" in path}
        for path in (before.keys() | after.keys()) - touched - ours:
            assert before.get(path) == after.get(path), f"{path!r} was touched"


def _unsettled(known: dict[str, str | None], journal: object) -> set[bytes]:
    """The files that an earlier act was on, or that this one leaves half done, which its row says."""
    return {done.path for id, done in journal.acts.items() if id in known or done.outcome is None}


def _hash(data: bytes) -> str:
    from hashlib import blake2b

    return blake2b(data, digest_size=16).hexdigest()


WEIGHTS = {
    **dict.fromkeys(("create", "modify", "rename", "hard_link", "symbolic_link", "delete", "change_mode"), 1),
    **{"create_many": 2, "restore": 2, "plan": 1, "plan_and_apply": 6, "apply": 2, "apply_is_stopped": 3},
    **{"undo": 2, "undo_is_stopped": 3},
}


def walk(seed: int, steps: int) -> Counter[str]:
    """Take so many steps at random, of which more act than hypothesis would choose. Returns what came of acts."""
    random, model = Random(seed), Collection()
    model.begin()
    try:
        for _ in range(steps):
            name = random.choices(list(WEIGHTS), WEIGHTS.values())[0]
            moment = random.randrange(50), random.choice(["before", "after", "refused"])
            values = {
                "name": random.choice(NAMES),
                "new": random.choice(NAMES),
                "content": random.randrange(len(CONTENTS)),
                "kept": random.random() < 0.5,
                "mode": random.choice([0o600, 0o644, 0o400]),
                "action": random.choice(ACTIONS),
                "keeper": random.randrange(99),
                "drops": random.randrange(1, 5),
                "moment": moment if name.endswith("stopped") or random.random() < 0.4 else None,
                "act": random.choice(model.acts) if model.acts else None,
            }
            if name == "restore" and model.acts:
                model.restored(values["act"])
            elif name.startswith("apply") and not model.acts:
                continue
            elif name != "restore":
                step = getattr(model, name)
                step(**{key: values[key] for key in signature(step).parameters})
        done = reading(RunDir(model.run)).acts.values()
        return Counter(f"{act.meant['action']} {act.outcome} {act.undo}" for act in done)
    finally:
        model.teardown()


@pytest.mark.slow
def test_steps_at_random_lose_nothing() -> None:
    counts: Counter[str] = Counter()
    for seed in range(RUNS):
        try:
            counts += walk(seed, STEPS)
        except BaseException:
            print(f"seed {seed}")
            raise
    print(f"{RUNS} runs of {STEPS} steps:", dict(sorted(counts.items())))
    assert {name.split()[0] for name in counts} >= {"quarantine", "delete", "hardlink", "symlink", "trash"}


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
