"""Matches in batches, beside the table of all of them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dupegrid
from dupegrid.core.arrays import ORIENTATIONS
from dupegrid.core.errors import DamagedError
from dupegrid.core.keys import fingerprint
from dupegrid.pairs.batches import Matches, SortedMatches, of_pairs, read_matches, stored_matches
from dupegrid.pairs.matches import KEY
from dupegrid.storage.schemas import MATCHES
from dupegrid.storage.tables import parts_in, read_metadata, read_table, write_table
from tests.conftest import picture


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """A run with matches in several parts: a second collection was added to the first."""
    folder = tmp_path_factory.mktemp("run")
    for added in (range(12), range(12, 18)):
        for k in added:
            path = folder / "photos" / f"{k}.png"
            path.parent.mkdir(exist_ok=True)
            picture(k % 5, (40 + k, 30 + k)).rotate(90 * (k % 4), expand=True).save(path)
        found = dupegrid.run(folder / "photos", out=folder / "run", orientations="all", cutoff=3000, tile=4, quiet=True)
    return found


def as_rows(matches: Matches) -> list[tuple[object, ...]]:
    rows = [row for batch in matches for row in zip(*(column.tolist() for column in batch), strict=True)]
    return sorted(rows)


def rows_of(table: pa.Table) -> list[tuple[object, ...]]:
    named = [table[name].to_pylist() for name in ("a", "b", "mse", "score")]
    return sorted(zip(*named, map(ORIENTATIONS.index, table["orientation"].to_pylist()), strict=True))


@pytest.mark.parametrize("memory_bytes", [None, 1])
def test_those_that_are_kept_and_those_that_are_read_each_time(run: dupegrid.Run, memory_bytes: int | None) -> None:
    key = fingerprint(*run.run_dir.tiles_keys())
    matches, count = stored_matches(run.run_dir, key, MATCHES, memory_bytes)
    assert count == len(run.matches) > 20
    assert run.run_dir.adopted.exists()
    assert as_rows(matches) == as_rows(matches) == rows_of(run.matches)
    near = run.matches.filter(np.less_equal(run.matches["score"].to_numpy(), 50))
    assert as_rows(matches.near(50)) == rows_of(near) != []
    with pytest.raises(DamagedError):
        stored_matches(run.run_dir, "another", MATCHES, memory_bytes)


def test_the_table_of_all_is_what_the_parts_hold(run: dupegrid.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are joined to some rows at a time."""
    key = fingerprint(*run.run_dir.tiles_keys())
    parts = pa.concat_tables([read_table(path, MATCHES) for path in parts_in(run.run_dir.matches)])
    expected = parts.sort_by([("a", "ascending"), ("b", "ascending")])
    monkeypatch.setattr("dupegrid.pairs.batches.ROWS_A_PART", 7)
    found = read_matches(run.run_dir, key)
    assert found.equals(expected)
    assert found.schema == MATCHES
    names = ["path_raw_b", "b", "a"]
    assert read_matches(run.run_dir, key, columns=names).equals(expected.select(names))


def test_a_part_that_is_another_one_by_the_second_time(run: dupegrid.Run) -> None:
    """Another comparison in the same folder, say: what was counted the first time is not there any more."""
    key = fingerprint(*run.run_dir.tiles_keys())
    matches, _ = stored_matches(run.run_dir, key, MATCHES, 1)
    part = next(path for path in parts_in(run.run_dir.matches) if pq.read_metadata(path).num_rows)
    whole, facts = part.read_bytes(), read_metadata(part)
    rows = read_table(part, MATCHES)
    try:
        for others, said in ((rows.slice(1), facts), (rows, {KEY: "another"})):
            write_table(part, others, said)
            with pytest.raises(DamagedError):
                list(matches)
        no_score = rows.set_column(MATCHES.names.index("score"), "score", pa.nulls(len(rows), pa.float64()))
        write_table(part, no_score, facts)
        with pytest.raises(DamagedError):
            stored_matches(run.run_dir, key, MATCHES, None)
    finally:
        part.write_bytes(whole)


def test_what_they_say_of_pairs(run: dupegrid.Run) -> None:
    n = len(run.images)
    x, y = (some.ravel() for some in np.mgrid[:n, :n])
    mse, score, turn = of_pairs(run.match_batches, x, y, n)
    known = {(a, b): rest for a, b, *rest in rows_of(run.matches)}
    for a, b, *found in zip(x.tolist(), y.tolist(), mse, score, turn.tolist(), strict=True):
        assert found == known.get((min(a, b), max(a, b)), [np.inf, np.inf, -1])


def test_damage_in_a_column_that_is_not_asked_for(run: dupegrid.Run) -> None:
    part = next(path for path in parts_in(run.run_dir.matches) if pq.read_metadata(path).num_rows)
    whole = part.read_bytes()
    column = pq.read_metadata(part).row_group(0).column(MATCHES.names.index("path_raw_b"))
    place = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 2
    part.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    try:
        with pytest.raises(DamagedError):
            stored_matches(run.run_dir, fingerprint(*run.run_dir.tiles_keys()), MATCHES, None)
    finally:
        part.write_bytes(whole)


def test_sorted_a_window_at_a_time_they_are_the_table_of_all(
    run: dupegrid.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, names = fingerprint(*run.run_dir.tiles_keys()), ["path_raw_b", "mse", "b", "orientation", "a"]
    for row_bytes in (1, 1 << 24, 1 << 30):
        monkeypatch.setattr("dupegrid.pairs.batches._SORTED_ROW_BYTES", row_bytes)
        rows = SortedMatches(run.run_dir, key, MATCHES, None)
        parts = list(rows.each(names))
        assert pa.concat_tables(parts).equals(run.matches.select(names))
        assert len(rows) == len(run.matches)
    assert len(parts) > 3
    with pytest.raises(DamagedError):
        SortedMatches(run.run_dir, "another", MATCHES, None)


def test_the_first_ones_are_those_of_all_in_order(run: dupegrid.Run) -> None:
    key = fingerprint(*run.run_dir.tiles_keys())
    wanted = run.matches.sort_by([("score", "ascending"), ("a", "ascending"), ("b", "ascending")])
    for memory_bytes in (None, 1):
        matches, count = stored_matches(run.run_dir, key, MATCHES, memory_bytes)
        assert matches.count() == count
        for most in (0, 1, 7, count, count + 1):
            found = matches.first(most)
            for name in ("a", "b", "score"):
                assert getattr(found, name).tolist() == wanted[name].slice(0, most).to_pylist()


def test_those_at_some_places_are_those_of_all_in_order(run: dupegrid.Run) -> None:
    """Scores that many matches have, 0 among them, are told apart by the ids."""
    key = fingerprint(*run.run_dir.tiles_keys())
    wanted = run.matches.sort_by([("score", "ascending"), ("a", "ascending"), ("b", "ascending")])
    for memory_bytes in (None, 1):
        matches, count = stored_matches(run.run_dir, key, MATCHES, memory_bytes)
        scores = matches.scores()
        assert scores.tolist() == wanted["score"].to_pylist()
        assert len(set(scores)) < count, "some are as far apart"
        for places in (np.arange(count)[::-1], np.array([3, 3, count - 1]), np.empty(0, np.int64)):
            found = matches.at(places, scores)
            for name in ("a", "b", "mse"):
                assert getattr(found, name).tolist() == wanted[name].take(places).to_pylist()
