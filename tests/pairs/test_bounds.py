"""Every bound is a lower bound, rounding included: it never loses a pair, whatever the pictures, sizes or turns."""

import json
import math
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
from dupegrid.pairs import bounds, canonical, kernel
from dupegrid.pairs.ask import Ask, Filters, read_facts
from dupegrid.pairs.grid import Grid, strip_side
from dupegrid.pairs.job import Job
from dupegrid.pairs.sort import sort_images
from dupegrid.pairs.steps import Pairs
from dupegrid.pairs.strip import read_piece
from dupegrid.pairs.tile import multiplied
from dupegrid.storage.arrays import Arrays
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import IMAGES
from dupegrid.storage.tables import write_table
from tests.helpers import reference
from tests.helpers.images import KINDS, thumbs

SIDES = st.sampled_from([4, 5, 8, 13, 16, 17, 24, 33])


def by_fourier(values: np.ndarray, axis: int) -> np.ndarray:
    """The orthonormal discrete cosine transform, type II, by the Fourier transform of values and their mirror image."""
    n = values.shape[axis]
    shape = [n if k == axis else 1 for k in range(values.ndim)]
    phase = np.exp(-1j * np.pi * np.arange(n) / (2 * n)).reshape(shape)
    whole = np.fft.fft(np.concatenate([values, np.flip(values, axis)], axis), axis=axis)
    out = (whole.take(range(n), axis) * phase).real / math.sqrt(2 * n)
    return out / np.where(np.arange(n) == 0, math.sqrt(2), 1).reshape(shape)


@pytest.mark.parametrize("side", [4, 5, 8, 13, 16, 33, 64, 255, 256])
def test_cosines_are_those_of_the_picture_up_to_the_rounding(side: int) -> None:
    images = np.random.default_rng(side).integers(0, 256, (4, side, side, 3)).astype(np.uint8)
    images[0], images[1], images[2, :, side // 2 :] = 255, 0, 255
    light = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]])
    mixed = np.einsum("nrcm,km->nrck", images - 128.0, light / np.linalg.norm(light, axis=1)[:, None])
    all_of_them = by_fourier(by_fourier(mixed, 1), 2) / levels.unit(side)
    down, across, mixture = (wave[: levels.prefixes(side)[-1]] for wave in levels._waves(side))
    kept = levels.cosines(images)
    assert len(set(zip(down, across, mixture, strict=True))) == kept.shape[1]
    errors = np.linalg.norm(kept - all_of_them[:, down, across, mixture], axis=1)
    assert (errors <= levels.rounding(side)).all()


@given(
    kind=st.sampled_from(KINDS), side=SIDES, seed=st.integers(0, 2**32 - 1), name=st.sampled_from(arrays.ORIENTATIONS)
)
def test_cosines_turn_with_the_picture(kind: str, side: int, seed: int, name: str) -> None:
    images = thumbs(kind, 3, seed, side)
    of_turned = levels.cosines(np.ascontiguousarray(arrays.turned(images, name))).astype(int)
    columns, signs = levels.turning(side, name)
    errors = np.linalg.norm(levels.cosines(images)[:, columns] * signs - of_turned, axis=1)
    assert (errors <= 2 * levels.rounding(side)).all()
    for count in levels.prefixes(side):
        assert set(columns[:count]) == set(range(count))


@given(
    kind=st.sampled_from(KINDS),
    side=SIDES,
    n=st.integers(2, 10),
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(arrays.ORIENTATIONS),
)
def test_cosines_and_boxes_bound_the_distance(kind: str, side: int, n: int, seed: int, name: str) -> None:
    images = thumbs(kind, n, seed, side)
    x, count = levels.cosines(images), levels.prefixes(side)[0]
    y = canonical.turned_cosines(x, side, name)
    points = [some[:, :count].astype(np.float32) for some in (x, y)]
    middle = np.array([0, n // 2, n // 2, n])
    lows, highs = bounds.boxes(points[1], middle)
    for i in range(n):
        gaps = bounds.squared_gaps(points[0][i], points[0][i], lows, highs)
        assert np.isinf(gaps[1])
        for j in range(n):
            exact = reference.sse(images[i], reference.turn(images[j], name))
            within = bounds.radius(exact, side)
            difference = x[i].astype(float) - y[j]
            assert np.linalg.norm(difference) <= within
            assert bounds.least_sse(float(np.linalg.norm(difference)), side) <= exact
            sums = bounds.squared_distances(x[i : i + 1], y[j : j + 1])
            assert sums[0] <= bounds.near_limit(within, x.shape[1])
            assert gaps[2 * (j >= n // 2)] <= bounds.near_limit(within, count)
            right = [kernel.right_operand(some[k : k + 1]) for some, k in zip(points, (i, j), strict=True)]
            assert len(kernel.candidates(kernel.left_operand(right[0]), right[1], within * within)[0]) == 1


@given(
    kind=st.sampled_from(KINDS),
    side=SIDES,
    seed=st.integers(0, 2**32 - 1),
    choice=st.sampled_from(["none", "rotations", "all"]),
)
def test_no_orientation_that_a_pair_needs_is_left_out(kind: str, side: int, seed: int, choice: str) -> None:
    images, names = thumbs(kind, 6, seed, side), arrays.CHOICES[choice]
    found = levels.cosines(images)
    home = canonical.make_canonical(found, side, names)
    back = canonical.as_found(names)
    for j in range(6):
        turned = [reference.turn(images[j], name) for name in names]
        others = [canonical.turned_cosines(found[j : j + 1], side, name)[0] for name in names]
        for i in range(6):
            for number in range(len(names)):
                within = bounds.radius(reference.sse(images[i], turned[number]), side)
                mask = canonical.needed(found[j : j + 1], side, names, within)
                (turn,) = np.flatnonzero(back[home[i], :, home[j]] == number)
                assert mask[turn, 0]
                assert np.linalg.norm(found[i].astype(float) - others[turn]) <= within


@given(st.integers(0, 2**32 - 1), st.integers(1, 40_000), st.sampled_from(["rotations", "all"]))
def test_few_orientations_are_needed_of_pictures_that_lean_to_one_side(seed: int, within: int, choice: str) -> None:
    found = np.random.default_rng(seed).integers(-20_000, 20_000, (50, 192)).astype(np.int16)
    names = arrays.CHOICES[choice]
    canonical.make_canonical(found, 8, names)
    mask = canonical.needed(found, 8, names, within)
    assert mask[0].all()
    turned = np.stack([canonical.turned_cosines(found, 8, name)[:, 1:3] for name in names]).astype(float)
    for number in range(len(names)):  # whatever is nearer to a canonical picture is needed
        gaps = np.linalg.norm(turned[number][:, None] - turned[0][None], axis=2).min(axis=1)
        assert mask[number][gaps <= within].all()
    ties = (np.abs(turned[0]).min(axis=1) == 0) | (np.abs(turned[0][:, 0]) == np.abs(turned[0][:, 1]))
    assert (canonical.needed(found, 8, names, 0).sum(axis=0) == 1)[~ties].all()


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
    order, starts = bounds.median_splits(points, key, block)
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
    store = Arrays.create(folder / "levels.zarr", levels.level_shapes(n, side), 32)
    for name, rows in levels.stored_levels(images).items():
        store.write(name, 0, rows)
    seals = {name: fingerprint(store[name].checksums()) for name in store.names}
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
        strip = read_piece(job, job.grid.rows(0))
        tally = dict.fromkeys(("other_group", "filter", "box", "product"), 0)
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
