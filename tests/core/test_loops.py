"""Compiled loops, and the same ones plain, find what brute force finds: where numba is there, both are tested."""

import os
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dupegrid.core import hidden_imports, loops
from dupegrid.images.levels import turned_columns, turning
from dupegrid.pairs import job as jobs
from dupegrid.pairs.bounds import boxes, near_limit
from dupegrid.pairs.job import Job
from dupegrid.pairs.kernel import float32_limit
from dupegrid.pairs.strip import Strip, read_piece
from dupegrid.pairs.tile import multiplied
from tests.helpers import reference
from tests.helpers.images import thumbs
from tests.pairs.test_bounds import prepared

# Not loaded before it is used: of the processes of `make test` most do without.
with_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not there")
WAYS = [loops, pytest.param("compiled", marks=with_numba)]


def of(way: object) -> SimpleNamespace:
    return loops.compiled() if way == "compiled" else way


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=20)
@given(
    m=st.integers(1, 512) | st.integers(1, 40),
    n=st.integers(0, 6),
    terms=st.sampled_from([8, 9, 23, 24]),
    spread=st.sampled_from([1, 30, 32_000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_pair_is_lost_and_none_far_is_found(way: object, m: int, n: int, terms: int, spread: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    points = random.integers(-spread, spread + 1, (m + n, terms)).astype(np.int16)
    left, right, columns = points[:m], points[m:], random.permutation(n)
    wide = points.astype(np.float64)
    apart = ((wide[:m, None] - wide[None, m:][:, columns]) ** 2).sum(axis=2)
    within = float(np.sqrt(random.choice(apart.ravel()))) if n else 0.0
    limit = np.float32(float32_limit(near_limit(within, terms)))
    most = random.integers(0, m + 1, n) if seed % 3 == 0 else np.full(n, m)
    apart[np.arange(m)[:, None] >= most] = np.inf
    x, y = of(way).near_pairs(of(way).leaves(left), right, columns, most, limit)
    found = set(zip(x.tolist(), y.tolist(), strict=True))
    assert len(found) == len(x)
    assert found >= set(zip(*(some.tolist() for some in np.nonzero(apart <= within**2)), strict=True))
    assert all(apart[pair] <= within**2 * 1.0001 for pair in found)
    floats = points.astype(np.float32)
    low, high, starts = floats[:m].min(axis=0), floats[:m].max(axis=0), np.array([0, n // 2, n // 2, n])
    others, asked = boxes(floats[m:], starts), np.array([True, True, bool(seed % 2)])
    near = of(way).near_columns((low, high), others, starts, asked, np.ascontiguousarray(floats[m:, :8].T), limit)
    assert {c for c in columns[[place for _, place in found]].tolist() if c < n // 2 or asked[2]} <= set(near.tolist())
    gaps = np.maximum(np.maximum(low - wide[m:], wide[m:] - high), 0)[: None if asked[2] else n // 2, :8]
    assert set(near.tolist()) <= set(np.flatnonzero((gaps**2).sum(axis=1) <= within**2 * 1.0001).tolist())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["identity", "rot90"])
def test_rows_are_near_by_all_of_their_values_turned(way: object, name: str) -> None:
    rows = np.random.default_rng(1).integers(-30, 30, (20, 191)).astype(np.int16)
    x, y = np.divmod(np.arange(400), 20)
    columns, signs = turning(64, name)
    apart = ((rows[x].astype(np.float64) - rows[y][:, columns] * signs) ** 2).sum(axis=1)
    for limit in (float(np.median(apart)), 0.0):
        near = of(way).near_rows(rows, rows, (x, y), (columns, signs), 96, np.float32(limit))
        assert near.tolist() == (apart <= limit).tolist()


@pytest.mark.parametrize("way", WAYS)
def test_more_pairs_than_there_was_room_for_are_all_found(way: object) -> None:
    points = np.zeros((34, 8), np.int16)
    x, y = of(way).near_pairs(of(way).leaves(points), points, np.arange(34), np.full(34, 34), np.float32(0))
    assert sorted(zip(x.tolist(), y.tolist(), strict=True)) == [(i, j) for i in range(34) for j in range(34)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["identity", "rot90"])
def test_squares_are_summed_exactly(way: object, name: str) -> None:
    images = np.random.default_rng(0).choice([0, 1, 254, 255], (4, 9, 9, 3)).astype(np.uint8)
    images[0], images[1] = 0, 255
    x, y = np.array([0, 0, 1, 2]), np.array([1, 2, 3, 3])
    rows = images.reshape(4, -1)
    found = of(way).squares(rows, rows[:, turned_columns(9, name)], x, y)
    of_pairs = zip(x, y, strict=True)
    assert found.tolist() == [reference.sse(images[a], reference.turn(images[b], name)) for a, b in of_pairs]


@pytest.mark.parametrize("kind", ["near", "smooth"])
def test_loops_lose_no_pair(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a comparison; plain, where numba is not there. Here, as a process that is the first compiles for 7 s."""
    plain = loops.Loops(*(getattr(loops, name) for name in loops.Loops._fields))
    monkeypatch.setattr(jobs, "compiled", lambda: loops.compiled() or plain)
    images = thumbs(kind, 20, 5, 16)
    exact = {(i, j): reference.best(images[i], images[j], "rotations")[0] for i in range(20) for j in range(i + 1, 20)}
    job = replace(prepared(tmp_path, images, "rotations", sorted(exact.values())[30], 3), with_loops=True)
    assert near_pairs(job, read_piece(job, job.grid.rows(0))) >= {
        pair for pair, sse in exact.items() if sse <= job.limit
    }


def near_pairs(job: Job, strip: Strip) -> set[tuple[int, int]]:
    """The pairs of ids that the product leaves of a strip with itself."""
    tally = dict.fromkeys(("other_group", "filter", "box", "product"), 0)
    return {
        tuple(sorted((int(strip.ids[x]), int(strip.ids[y]))))
        for pairs in multiplied(job, strip, strip, tally)
        for x, y in zip(pairs.x, pairs.y, strict=True)
    }


@with_numba
def test_nobody_who_filled_the_working_directory_says_where_code_is_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".numba_config.yaml").write_text(f"cache_dir: {tmp_path}/code\n")
    monkeypatch.chdir(tmp_path)
    assert loops.compiled.__wrapped__() is None


@with_numba
def test_no_code_is_taken_from_a_folder_that_others_may_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor compiled to it: what is asked here is answered before anything is."""
    import numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "all/kept"))
    folder = Path(numba.njit(cache=True)(loops.squares).stats.cache_path)
    monkeypatch.setattr(loops, "_call", lambda _: None)
    modes = {0o755: True, 0o775: True, 0o777: False, 0o1777: False}
    for mode, expected in modes.items():
        folder.chmod(mode)
        assert (loops.compiled.__wrapped__() is not None) == expected, oct(mode)
    folder.chmod(0o755)
    for mode, expected in {0o777: False, 0o1777: True}.items():
        folder.parent.chmod(mode)
        assert (loops.compiled.__wrapped__() is not None) == expected, oct(mode)
    if os.geteuid() == 0:
        os.chown(folder, 12345, -1)
        assert loops.compiled.__wrapped__() is None


@with_numba
def test_loops_that_cannot_be_had_are_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "kept"))
    index = Path(numba.njit(cache=True)(loops.near_columns)._cache._cache_file._index_path)
    index.write_bytes(b"")  # as a machine that stopped may leave it
    assert loops.compiled.__wrapped__() is None
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert loops.compiled.__wrapped__() is None


@with_numba
def test_in_a_process_of_ours_numba_does_without_what_takes_long_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_for(_: object) -> None:
        for name in ("scipy", "cffi"):
            monkeypatch.delitem(sys.modules, name, raising=False)
            with pytest.raises(ModuleNotFoundError):
                import_module(name)

    monkeypatch.setattr(hidden_imports, "_light", True)
    monkeypatch.setattr(loops, "_call", look_for)
    assert loops.compiled.__wrapped__() is not None
