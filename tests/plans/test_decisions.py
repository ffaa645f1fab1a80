"""decisions.parquet: nothing that was decided is lost, whoever writes beside it, and wherever it is killed."""

import itertools
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dupegrid
from dupegrid.core.errors import RunDirError, StoreError, UsageError
from dupegrid.plans import decisions
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import DECISIONS
from dupegrid.storage.words import VERDICTS
from tests.conftest import save

HASHES = [f"{k:032x}" for k in range(4)]
START = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = st.builds(
    lambda pair, verdict, second, by: {
        "hash_a": pair[0],
        "hash_b": pair[1],
        "decision": verdict,
        "keeper": pair[0] if verdict == "same" and second % 2 else None,
        "decided_at": START + timedelta(seconds=second),
        "by": by,
    },
    st.sampled_from(list(itertools.combinations(HASHES, 2))),
    st.sampled_from(list(VERDICTS)),
    st.integers(0, 3),
    st.sampled_from(["decide", "review"]),
)


def row(a: int, b: int, verdict: str = "not-same", **more: Any) -> dict[str, Any]:
    return {"hash_a": HASHES[a], "hash_b": HASHES[b], "decision": verdict, "by": "decide", **more}


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, DECISIONS)


def keys(found: pa.Table) -> set[tuple[Any, ...]]:
    return {tuple(values.values()) for values in found.to_pylist()}


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


@given(st.lists(ROWS, max_size=8), st.lists(ROWS, max_size=8))
def test_a_union_is_that_of_sets_whichever_comes_first(
    some: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    both = decisions.union([table(some), table(others)])
    assert keys(both) == keys(table(some)) | keys(table(others))
    assert len(both) == len(keys(both))
    assert both.equals(decisions.union([table(others), table(some)]))
    assert both.equals(decisions.union([both, table(some), both]))
    assert both["decided_at"].to_pylist() == sorted(both["decided_at"].to_pylist())


@given(st.lists(ROWS, max_size=12))
def test_in_force_is_the_last_of_each_pair(rows: list[dict[str, Any]]) -> None:
    ordered = decisions.union([table(rows)])
    last = {(entry["hash_a"], entry["hash_b"]): entry for entry in ordered.to_pylist()}
    expected = [entry for entry in last.values() if entry["decision"] != "undecided"]
    found = decisions.in_force(ordered)
    assert found.schema == DECISIONS
    assert keys(found) == {tuple(entry.values()) for entry in expected}


def test_decisions_are_read_in_the_order_in_which_they_were_made(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(decisions.read(run_dir)) == 0
    decisions.append(run_dir, [row(1, 0), row(0, 1, "same", keeper=HASHES[1])])
    monkeypatch.setattr(decisions.time, "time_ns", lambda: 5)  # the clock is set back
    decisions.append(run_dir, [row(0, 1, "undecided")])
    found = decisions.read(run_dir)
    assert found.schema == DECISIONS
    assert found["decision"].to_pylist() == ["not-same", "same", "undecided"]
    assert set(found["hash_a"].to_pylist()) == {HASHES[0]}
    assert len(decisions.in_force(found)) == 0


def test_many_parts_become_few_and_none_is_lost(run_dir: RunDir) -> None:
    for k in range(90):
        decisions.append(run_dir, [row(0, 1 + k % 3, by=f"number {k}")])
    assert len(list(run_dir.decisions.iterdir())) <= 65
    assert decisions.read(run_dir)["by"].to_pylist() == [f"number {k}" for k in range(90)]


def test_two_may_write_while_a_third_reads(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "_MANY", 4)

    def write(name: str) -> None:
        for k in range(40):
            decisions.append(run_dir, [row(0, 1, by=f"{name} {k}")])

    writers = [threading.Thread(target=write, args=(name,)) for name in ("one", "two")]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        now = len(decisions.read(run_dir))
        assert now >= seen
        seen = now
    assert sorted(decisions.read(run_dir)["by"].to_pylist()) == sorted(
        f"{w} {k}" for w in ("one", "two") for k in range(40)
    )


@pytest.mark.parametrize("name", ["replace", "unlink", "fsync"])
def test_killed_at_any_call_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A writer ends before each of its calls in turn; what was appended before is there, and it can go on."""
    monkeypatch.setattr(decisions, "_MANY", 3)

    class Killed(BaseException):
        pass

    for moment in itertools.count():
        run_dir, left, real = RunDir(tmp_path / str(moment)), [moment], getattr(os, name)
        run_dir.path.mkdir()
        done = []

        def dying(*args: Any, _left: list[int] = left, _real: Any = real, **more: Any) -> Any:
            _left[0] -= 1
            if _left[0] < 0:
                raise Killed
            return _real(*args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, dying)
            try:
                for k in range(5):
                    decisions.append(run_dir, [row(0, 1, by=f"number {k}")])
                    done.append(f"number {k}")
            except Killed:
                pass
        found = decisions.read(run_dir)["by"].to_pylist()
        assert found[: len(done)] == done
        assert len(found) <= len(done) + 1
        decisions.append(run_dir, [row(0, 1, by="last")])
        assert decisions.read(run_dir)["by"].to_pylist() == [*found, "last"]
        if len(done) == 5:
            break
        assert moment < 200


def test_a_damaged_part_is_said_and_kept(run_dir: RunDir) -> None:
    decisions.append(run_dir, [row(0, 1)])
    (part,) = run_dir.decisions.iterdir()
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(StoreError, match="put back a copy"):
        decisions.read(run_dir)
    assert part.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "maybe"},
        {"keeper": HASHES[3]},
        {"keeper": HASHES[0]},  # of two that are not the same none is kept over the other
        {"hash_b": HASHES[0]},
        {"hash_a": "../x"},
        {"by": ""},
        {"by": "a\nb"},
        {"decided_at": "yesterday"},
        {"decided_at": datetime(9999, 12, 31, tzinfo=UTC)},
    ],
)
def test_what_is_no_decision_is_refused_and_nothing_is_written(run_dir: RunDir, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="a decision"):
        decisions.append(run_dir, [row(0, 1, "same"), row(0, 1) | change])
    assert not run_dir.decisions.exists()


def test_a_table_is_added_once(run_dir: RunDir) -> None:
    given_table = table([row(0, 1, decided_at=START), row(0, 2, decided_at=START)])
    assert decisions.append_table(run_dir, given_table) == 2
    assert decisions.append_table(run_dir, given_table) == 0
    assert decisions.read(run_dir).equals(decisions.union([given_table]))


def test_a_file_in_the_place_of_the_folder_is_refused(run_dir: RunDir) -> None:
    run_dir.decisions.write_text("mine")
    for call in (lambda: decisions.read(run_dir), lambda: decisions.append(run_dir, [row(0, 1)])):
        with pytest.raises(RunDirError, match="move it away"):
            call()
    assert run_dir.decisions.read_text() == "mine"


def test_a_new_run_keeps_what_was_decided(tmp_path: Path) -> None:
    for k in range(2):
        save(tmp_path / f"photos/{k}.png", 1)
    done = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=8, scheduler="sync", quiet=True)
    decisions.append(done.run_dir, [row(0, 1)])
    (done.run_dir.decisions / f".part-{0:020d}-{0:032x}.parquet.{0:032x}").write_text("half")
    save(tmp_path / "photos/2.png", 1)
    again = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=8, scheduler="sync", quiet=True)
    assert len(decisions.read(again.run_dir)) == 1
    assert len(list(done.run_dir.decisions.iterdir())) == 1
