"""The last level: exact, whatever is decided together, and a thumbnail is read once where memory holds all."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import dupegrid
from dupegrid.core.arrays import CHOICES
from dupegrid.pairs import exact
from dupegrid.storage.arrays import Thumbs
from tests.helpers import reference
from tests.helpers.images import KINDS, thumbs

PLACES = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), max_size=200)


@given(pairs=PLACES, images=st.integers(0, 400))
def test_squares_are_put_together_as_far_as_memory_holds_their_images(
    pairs: list[tuple[int, int]], images: int
) -> None:
    x, y = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    order, squares = exact.by_square(x, y)
    assert sorted(order.tolist()) == list(range(len(pairs)))
    of_pair = [(x[place] // 512, y[place] // 512) for place in order]
    number = np.searchsorted(squares, np.arange(len(pairs)), "right")
    assert len(set(zip(number.tolist(), of_pair, strict=True))) == len(set(of_pair)) == len(squares) - 1
    parts = [part.tolist() for part in exact.together(squares, images)]
    assert [start for part in parts for start in part[:-1]] == squares[:-1].tolist(), "each square is in one part"
    for part in parts:
        needed = {(side, places[order[at]]) for side, places in enumerate((x, y)) for at in range(part[0], part[-1])}
        of_last = min(2 * 512, 2 * (part[-1] - part[-2]))
        assert len(part) == 2 or len(needed) <= images + 2 * 512 + of_last


@given(
    kind=st.sampled_from(KINDS),
    side=st.sampled_from([4, 5, 13, 16, 33]),
    choice=st.sampled_from(list(CHOICES)),
    crowd=st.sampled_from([8, 1024]),
    seed=st.integers(0, 2**32 - 1),
)
def test_pairs_are_decided_exactly_alone_and_by_products(
    kind: str, side: int, choice: str, crowd: int, seed: int
) -> None:
    images, random, names = thumbs(kind, 6, seed, side), np.random.default_rng(seed), CHOICES[choice]
    x, y, turn = (random.integers(0, end, 40) for end in (6, 6, len(names)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_CROWD", crowd)
        job = SimpleNamespace(orientations=names, loops=None)
        found = exact._sse(job, images, x, y, turn, np.array([0, 30, 40]))
    of_pairs = zip(x, y, turn, strict=True)
    assert found.tolist() == [reference.sse(images[a], reference.turn(images[b], names[t])) for a, b, t in of_pairs]


@pytest.mark.parametrize("side", [64, 255])
def test_the_largest_differences_are_summed_exactly(side: int) -> None:
    images = np.random.default_rng(side).choice([0, 1, 254, 255], (4, side, side, 3)).astype(np.uint8)
    images[0], images[1] = 0, 255
    x, y = np.array([0, 0, 1, 2]), np.array([1, 2, 3, 3])
    expected = [reference.sse(images[a], images[b]) for a, b in zip(x, y, strict=True)]
    assert exact._one_by_one(images, x, y, "identity").tolist() == expected


def test_a_thumbnail_is_read_once_where_memory_holds_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And more often where it does not; the matches are the same."""
    random, reads, take = np.random.default_rng(3), [], Thumbs.take
    (tmp_path / "photos").mkdir()
    for k, base in enumerate(thumbs("random", 20, 1, 16).repeat(3, axis=0)):
        pixels = np.rot90(np.clip(base.astype(int) + random.integers(-9, 10, base.shape), 0, 255), k % 4)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"photos/{(k * 7) % 60:02d}.png")

    def counted(store: Thumbs, rows: np.ndarray, sums: np.ndarray | None = None) -> np.ndarray:
        reads.append(rows)
        return take(store, rows, sums)

    run = dupegrid.index(tmp_path / "photos", out=tmp_path / "run", thumb=16, scheduler="sync", quiet=True)
    settings = {"orientations": "rotations", "scheduler": "sync", "quiet": True}
    monkeypatch.setattr(Thumbs, "take", counted)
    found = dupegrid.compare(run.path, threshold=200, **settings).matches
    assert len(found) == 20 * 3
    assert sorted(np.concatenate(reads).tolist()) == list(range(60))
    reads.clear()
    monkeypatch.setattr(exact, "_READ_AT_ONCE_BYTES", 1)
    monkeypatch.setattr(exact, "_SQUARE", 4)
    again = dupegrid.compare(run.path, threshold=201, **settings).matches
    assert len(reads) > 10
    assert all((np.diff(rows) > 0).all() for rows in reads), "in the order in which they are stored"
    assert again == found
