"""apply killed at every call of a plan of 40 files, and by SIGKILL at random moments of one of 2,000."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import dupegrid
from tests.conftest import elsewhere, noise
from tests.helpers.forks import fork_decoders
from tests.helpers.plans import Faults, file_hash, plan_rows, planned, state, trash_in, write_plan

LONG = bool(os.environ.get("DUPEGRID_LONG"))
KILLS = int(os.environ.get("DUPEGRID_KILLS", "100")) if LONG else 2
QUIET = {"quiet": True}


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    """On a disk: what file systems do is the point of these tests."""
    return disk_path


def collection(folder: Path, pictures: int, copies: int) -> dupegrid.Run:
    """So many pictures with so many copies of each, in folders that mix them."""
    for seed in range(pictures):
        first = noise(folder / f"photos/{seed % 7}/{seed}.png", seed)
        for copy in range(copies):
            other = folder / f"photos/{copy % 5}/sub/copy {copy} of {seed}.png"
            other.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(first, other)
            os.utime(other, ns=(10**18 + copy, 10**18 + seed))
    return dupegrid.run(folder / "photos", out=folder / "run", thumb=16, scheduler="sync", **QUIET)


def check_keepers(rows: list[dict[str, object]]) -> None:
    """Every file that is not at its place has a keeper that is there, as it was."""
    keepers = {row["keeper_path_raw"]: row["keeper_file_hash"] for row in rows if not os.path.lexists(row["path_raw"])}
    for path, known in keepers.items():
        assert file_hash(path) == known


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="minutes: in make test-apply")
@pytest.mark.parametrize("action", ["quarantine", "copy", "trash", "hardlink", "symlink", "delete"])
def test_killed_at_every_call_of_forty_files(action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apply at each of its calls, then undo at each of its own; 'copy' is a quarantine on another volume."""
    run = collection(tmp_path, 8, 5)
    trash_in(tmp_path, monkeypatch)
    photos, journal, every = tmp_path / "photos", run.path / "journal.jsonl", int(os.environ.get("DUPEGRID_EVERY", "1"))
    before, faults = state(photos), Faults(monkeypatch)
    rows = planned(run, "quarantine" if action == "copy" else action)
    assert len(rows) == 40
    with ExitStack() as stack:
        other = TemporaryDirectory(dir=elsewhere(tmp_path)) if action == "copy" else None
        aside = {} if other is None else {"quarantine": stack.enter_context(other)}
        apply = partial(dupegrid.apply, run, delete_for_good=True, **aside, **QUIET)

        def applied() -> None:
            found = apply()
            assert sum(found.counts.get(name, 0) for name in ("done", "before")) == 40
            check_keepers(rows)

        def taken_back() -> None:
            if action == "delete":
                assert not any(os.path.lexists(row["path_raw"]) for row in rows)
                for row in rows:
                    shutil.copyfile(row["keeper_path_raw"], row["path_raw"])
                    os.utime(row["path_raw"], ns=(row["mtime_ns"], row["mtime_ns"]))
            else:
                dupegrid.undo(run, **QUIET)
                assert {act["state"] for act in dupegrid.journal(run)} <= {"undone", "taken back"}
            assert state(photos) == before
            journal.unlink()

        kills = []
        for number in faults.at_calls(every, apply):
            check_keepers(rows)
            applied()
            taken_back()
            kills.append(number)
        print(f"{action}: apply killed at {len(kills)} of {faults.made} calls", flush=True)
        applied()
        for number in faults.at_calls(every, partial(dupegrid.undo, run, **QUIET)) if action != "delete" else ():
            check_keepers(rows)
            taken_back()
            applied()
            kills.append(number)
        print(f"{action}: with undo {len(kills)} kills; undo makes {faults.made} calls", flush=True)
    assert len(kills) >= 100 // every, "a plan of 40 files makes more calls"


def killed(work: Callable[[], object], after_s: float) -> bool:
    """Do some work in a fork, which is killed if it goes on for longer. Returns whether it was."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            fork_decoders()
            work()
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + after_s
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost(tmp_path: Path) -> None:
    run = collection(tmp_path, 100 if LONG else 6, 20 if LONG else 3)
    photos, moments = tmp_path / "photos", random.Random(0)
    before = state(photos)
    began_s = time.monotonic()
    rows = planned(run)
    dupegrid.apply(run, **QUIET)
    whole_s = time.monotonic() - began_s
    assert dupegrid.undo(run, **QUIET).counts == {"back": len(rows)}
    assert state(photos) == before
    kills = 0
    for number in range(KILLS):
        action = ("quarantine", "hardlink", "symlink")[number % 3]
        write_plan(run, [row for row in plan_rows(run, action) if row["action"] != "keep"])
        kills += killed(lambda: dupegrid.apply(run, **QUIET), moments.uniform(0.05, whole_s) if LONG else 0.05)
        check_keepers(rows)
        if number % 2:
            kills += killed(lambda: dupegrid.undo(run, **QUIET), moments.uniform(0.02, whole_s / 2))
            check_keepers(rows)
        if number % 3 == 2 or number == KILLS - 1:
            dupegrid.apply(run, **QUIET)
        dupegrid.undo(run, **QUIET)
        assert state(photos) == before, number
    assert kills > 0, "it ended before it was killed each time: nothing was tried"
    print(f"{len(rows)} files: {kills} kills, 0 differences")
