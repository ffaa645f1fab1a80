"""Every bound is a lower bound, rounding included: it never loses a pair, whatever the pictures, sizes or turns."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupegrid.core import arrays
from dupegrid.core.config import Config
from dupegrid.core.keys import fingerprint
from dupegrid.core.room import Room
from dupegrid.images import levels
from dupegrid.pairs import bounds, kernel
from dupegrid.pairs.ask import Ask, Filters, read_facts
from dupegrid.pairs.grid import Grid, strip_side
from dupegrid.pairs.job import Job
from dupegrid.pairs.sort import sort_images
from dupegrid.pairs.steps import Pairs
from dupegrid.pairs.strip import read_strip
from dupegrid.pairs.tile import multiplied
from dupegrid.storage.arrays import Arrays
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import IMAGES
from dupegrid.storage.tables import write_table
from tests.helpers import reference
from tests.helpers.images import KINDS, thumbs

SIDES = st.sampled_from([4, 5, 8, 13, 16, 17, 24, 33])


@pytest.mark.parametrize("side", [4, 5, 8, 13, 16, 33, 64, 255, 256])
def test_cell_sums_are_the_sums_of_their_cells(side: int) -> None:
    images = np.random.default_rng(side).integers(0, 256, (3, side, side, 3)).astype(np.uint8)
    images[0] = 255
    for g in levels.levels(side):
        edges = levels._cell_edges(side, g)
        expected = [
            [
                [images[k, r0:r1, c0:c1, channel].sum(dtype=int) for c0, c1 in edges for channel in range(3)]
                for r0, r1 in edges
            ]
            for k in range(3)
        ]
        sums = levels.cell_sums(images, g)
        np.testing.assert_array_equal(sums, np.array(expected).reshape(3, -1))
        assert sums.dtype == levels.cell_dtype(side, g)


@given(
    kind=st.sampled_from(KINDS), side=SIDES, seed=st.integers(0, 2**32 - 1), name=st.sampled_from(arrays.ORIENTATIONS)
)
def test_cell_sums_turn_with_the_picture(kind: str, side: int, seed: int, name: str) -> None:
    images = thumbs(kind, 3, seed, side)
    for g in levels.levels(side):
        of_turned = levels.cell_sums(np.ascontiguousarray(arrays.turned(images, name)), g)
        np.testing.assert_array_equal(levels.cell_sums(images, g)[:, levels.turned_columns(g, name)], of_turned)


def all_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(n), n), np.tile(np.arange(n), n)


@given(kind=st.sampled_from(KINDS), side=SIDES, n=st.integers(2, 8), seed=st.integers(0, 2**32 - 1))
def test_levels_bound_the_sse_from_below(kind: str, side: int, n: int, seed: int) -> None:
    images = thumbs(kind, n, seed, side)
    a, b = all_pairs(n)
    sse = [reference.sse(images[i], images[j]) for i, j in zip(a, b, strict=True)]
    for g in levels.levels(side):
        cells, weights = levels.cell_sums(images, g), levels.cell_weights(side, g)
        computed = bounds.level_sse(cells[a], cells[b], weights)
        for bound, exact in zip(computed, sse, strict=True):
            assert bound <= bounds.level_limit(exact, len(weights))


@given(
    kind=st.sampled_from(KINDS),
    side=SIDES,
    n=st.integers(2, 10),
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(arrays.ORIENTATIONS),
)
def test_projections_and_boxes_bound_the_distance(kind: str, side: int, n: int, seed: int, name: str) -> None:
    images = thumbs(kind, n, seed, side)
    cells = levels.cell_sums(images, 4)
    projection = bounds.Projection.fit(cells, side)
    x, y = projection(cells, "identity"), projection(cells, name)
    norm = max(float(np.linalg.norm(points.astype(np.float64), axis=1).max()) for points in (x, y))
    middle = np.array([0, n // 2]) if n > 2 else np.array([0])
    lows, highs = bounds.boxes(y, middle)
    for i in range(n):
        gaps = bounds.squared_gaps(x[i], x[i], lows, highs)
        for j in range(n):
            exact = reference.sse(images[i], reference.turn(images[j], name))
            within = bounds.radius(exact, norm)
            assert ((x[i].astype(np.float64) - y[j].astype(np.float64)) ** 2).sum() <= within * within
            assert gaps[np.searchsorted(middle, j, "right") - 1] <= bounds.box_limit(within, x.shape[1])
            pair = kernel.left_operand(kernel.right_operand(x[i : i + 1])), kernel.right_operand(y[j : j + 1])
            assert len(kernel.candidates(*pair, within * within)[0]) == 1


@given(
    n=st.integers(0, 60),
    block=st.integers(1, 20),
    keys=st.integers(1, 4),
    side=st.integers(1, 70),
    seed=st.integers(0, 999),
)
def test_sorting_is_a_permutation_in_blocks_of_one_key(n: int, block: int, keys: int, side: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    points, key = random.normal(size=(n, 5)).astype(np.float32), random.integers(0, keys, n)
    order, starts = bounds.median_splits(bounds.heads(points), key, block)
    assert sorted(order.tolist()) == list(range(n))
    edges = [*starts.tolist(), n]
    assert (starts[0] == 0) if n else not len(starts)
    for start, stop in pairwise(edges):
        assert 1 <= stop - start <= block
        assert len(set(key[order[start:stop]])) == 1
    cuts = bounds.strips(starts, n, side)
    assert set(cuts.tolist()) <= {*edges, 0}
    assert cuts[-1] == n
    assert all(stop - start >= side for start, stop in pairwise(cuts[:-1]))


def prepared(folder: Path, images: np.ndarray, choice: str, limit: int, block: int, **settings: object) -> Job:
    """A job over images that are put into stores in a folder."""
    n, side = len(images), images.shape[1]
    cells = Arrays.create(folder / "levels.zarr", levels.level_shapes(n, side), 32)
    for name, rows in levels.stored_levels(images).items():
        cells.write(name, 0, rows)
    seals = {name: fingerprint(cells.checksums(name)) for name in cells.names}
    columns = {"status": ["ok"] * n, "root": [0] * n, "width": [1] * n, "height": [1] * n}
    rows = pa.table({field.name: columns.get(field.name, pa.nulls(n, field.type)) for field in IMAGES})
    write_table(folder / "images.parquet", rows.cast(IMAGES), {"seals": json.dumps(seals)})
    config, run_dir = Config(paths=["/x"], orientations=choice, **settings), RunDir(folder)
    names, filters = arrays.CHOICES[choice], Filters.of(config)
    groups = filters.keys(read_facts(run_dir), np.arange(n))
    order = sort_images(run_dir, side, groups, names, block, "images")
    return Job(
        run_dir,
        Ask.of(config, ""),
        Grid((0, n), n),
        side,
        limit,
        order.largest_norm,
        names,
        filters,
        Room(None, 1, 1),
        order.key,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("choice", ["none", "all"])
def test_boxes_and_products_lose_no_pair(tmp_path: Path, kind: str, choice: str) -> None:
    images = thumbs(kind, 40, 5, 16)
    exact = {(i, j): reference.best(images[i], images[j], choice)[0] for i in range(40) for j in range(i + 1, 40)}
    for rank in (0, len(exact) // 3, len(exact) - 1):
        limit = sorted(exact.values())[rank]
        job = prepared(tmp_path, images, choice, limit, 3)
        strip = read_strip(job, 0)
        tally = dict.fromkeys(("other_group", "filter", "box", "level_4"), 0)
        found = {
            tuple(sorted((int(strip.ids[x]), int(strip.ids[y]))))
            for pairs in multiplied(job, strip, strip, tally)
            for x, y in zip(pairs.x, pairs.y, strict=True)
        }
        assert {pair for pair, sse in exact.items() if sse <= limit} <= found
        assert sum(tally.values()) + len(found) == len(exact)


def test_pairs_are_counted_once_whatever_their_turns() -> None:
    x, y, turn = (np.array(values) for values in ([0, 0, 1, 1], [1, 1, 2, 3], [0, 2, 1, 1]))
    assert Pairs(x, y, turn).count == 3
    assert Pairs(x[:0], y[:0], turn[:0]).count == 0


@given(st.integers(0, 10**9), st.floats(0, 1))
def test_tiles_stay_countable_and_their_near_pairs_too_where_that_can_be(images: int, near_share: float) -> None:
    side = strip_side(images, near_share)
    strips = -(-images // side)
    assert strips * (strips + 1) // 2 <= 10_000
    assert side * side * near_share <= 1 << 22 or strips >= 130 or side == 1
