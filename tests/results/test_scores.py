"""Second scores: the least MSE over shifts by brute force, the structural similarity as scikit-image has it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dupegrid
from dupegrid.core.errors import UsageError
from dupegrid.results.scores import SHIFT, shifted_mse, ssim
from tests.helpers.images import KINDS, thumbs


def by_brute_force(a: np.ndarray, b: np.ndarray) -> float:
    """Of all shifts the least mean of squares, pixel by pixel where both have one."""
    side, found = len(a), []
    for down in range(-SHIFT, SHIFT + 1):
        for across in range(-SHIFT, SHIFT + 1):
            squares = [
                (a[y, x].astype(int) - b[y - down, x - across]) ** 2
                for y in range(side)
                for x in range(side)
                if 0 <= y - down < side and 0 <= x - across < side
            ]
            found.append(np.mean(squares))
    return min(found)


@given(st.sampled_from(KINDS), st.integers(0, 99))
def test_the_least_over_shifts_is_that_of_brute_force(kind: str, seed: int) -> None:
    images = thumbs(kind, 2, seed)
    np.testing.assert_allclose(shifted_mse(images[:1], images[1:])[0], by_brute_force(*images), rtol=1e-12)


def test_a_shifted_picture_is_no_other() -> None:
    image = thumbs("random", 1, 0, 32)
    shifted = np.roll(image, (2, -3), (1, 2))
    assert shifted_mse(image, shifted)[0] == 0
    assert shifted_mse(image, np.roll(image, 5, 1))[0] > 1000


def test_scores_of_matches_are_columns_of_an_export(hostile: dupegrid.Run, tmp_path: Path) -> None:
    scores = hostile.scores("shifted_mse")
    assert scores["a"].to_pylist() == hostile.matches["a"].to_pylist()
    assert (scores["shifted_mse"].to_numpy() <= hostile.matches["mse"].to_numpy()).all()
    dupegrid.export(hostile, tmp_path / "matches.parquet", columns="b,shifted_mse,mse")
    assert pq.read_table(tmp_path / "matches.parquet")["shifted_mse"].to_pylist() == scores["shifted_mse"].to_pylist()


def test_structural_similarity_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    images = thumbs("smooth", 4, 1, 32)
    known = [metrics.structural_similarity(a, b, channel_axis=2) for a, b in pairwise(images)]
    np.testing.assert_allclose(ssim(images[:3], images[1:]), known)
    assert ssim(images, images).tolist() == [1.0] * 4


def test_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skimage.metrics", None)
    with pytest.raises(UsageError, match=r"pip install 'dupegrid\[scores\]'"):
        ssim(thumbs("random", 1, 0), thumbs("random", 1, 1))
