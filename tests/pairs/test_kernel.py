"""The kernel against integers: exact where it says so, and no pair at or under the limit lost to rounding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupegrid.core import arrays
from dupegrid.core.errors import UsageError
from dupegrid.pairs import kernel
from dupegrid.pairs.matches import sse_limit
from tests.helpers import reference
from tests.helpers.images import KINDS, thumbs


@given(
    points=st.integers(2, 30),
    components=st.sampled_from([1, 8, 32, 48]),
    scale=st.sampled_from([1e-3, 1.0, 300.0, 2e4]),
    seed=st.integers(0, 2**32 - 1),
    rank=st.floats(0, 1),
)
def test_candidates_hold_every_pair_of_points_within_the_limit(
    points: int, components: int, scale: float, seed: int, rank: float
) -> None:
    """Points far from the origin and near each other are the worst case: their norms cancel."""
    random = np.random.default_rng(seed)
    centre = random.normal(0, scale, components)
    x = (centre + random.normal(0, scale * 10.0 ** -random.integers(0, 7), (points, components))).astype(np.float32)
    exact = ((x[:, None].astype(np.float64) - x[None].astype(np.float64)) ** 2).sum(axis=2)
    limit = float(np.sort(exact.ravel())[int(rank * (exact.size - 1))])  # some pair lies at the limit itself
    found, right = np.zeros(exact.shape, bool), kernel.right_operand(x)
    found[kernel.candidates(kernel.left_operand(right), right, limit)] = True
    assert found[exact <= limit].all()


@pytest.mark.parametrize("side", [4, 5, 64, 255, 256])
def test_distances_are_exact_in_the_worst_case(side: int) -> None:
    random = np.random.default_rng(side)
    a = random.choice([0, 1, 254, 255], (6, side, side, 3)).astype(np.uint8)
    b = np.zeros_like(a)
    b[1:3] = 255
    a[1], a[2] = 0, 255
    assert kernel.exact_sse(a, b).tolist() == [reference.sse(p, q) for p, q in zip(a, b, strict=True)]
    assert kernel.sse_block(a, b).tolist() == [[reference.sse(p, q) for q in b] for p in a]


@pytest.mark.parametrize("choice", ["none", "rotations", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_mse_block_is_exact(choice: str, kind: str) -> None:
    a, b = thumbs(kind, 5, 1), thumbs(kind, 7, 2)
    expected = [[reference.best(p, q, choice)[0] / p.size for q in b] for p in a]
    np.testing.assert_array_equal(kernel.mse_block(a, b, arrays.CHOICES[choice]), expected)


def test_mae_is_exact() -> None:
    a, b = (thumbs(kind, 5, 1).reshape(5, -1) for kind in ("random", "saturated"))
    expected = [[np.abs(p.astype(int) - q.astype(int)).sum() / p.size for q in b] for p in a]
    np.testing.assert_array_equal(kernel.mae(a, b), expected)


def test_every_orientation_has_its_inverse_in_the_same_choice() -> None:
    """A pair may be met from either side, so a choice of orientations must be closed under undoing."""
    image = thumbs("random", 1, 3)
    for names in arrays.CHOICES.values():
        for name in names:
            assert arrays.inverse(name) in names
            assert np.array_equal(arrays.turned(arrays.turned(image, name), arrays.inverse(name)), image)
            assert np.array_equal(arrays.turned(image, name)[0], reference.turn(image[0], name))


@given(mse=st.floats(0, 65025), values=st.sampled_from([48, 3072, 12288]))
def test_the_limit_is_the_largest_sse_within_the_threshold(mse: float, values: int) -> None:
    limit = sse_limit(mse, values)
    assert limit / values <= mse < (limit + 1) / values


@pytest.mark.parametrize("name", ["CUPY_TF32", "CUPY_CUDA_PER_THREAD_DEFAULT_STREAM"])
def test_settings_by_which_pairs_are_missed_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an H100 CUPY_TF32=1 lost pairs that are within the limit; streams of threads do not wait for each other."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match="unset it"):
        arrays.array_module(object())
    assert arrays.array_module(np.zeros(1)) is np


@pytest.mark.gpu
def test_cupy_gives_the_same_integers() -> None:
    cupy = pytest.importorskip(
        "cupy", reason="cupy is not installed: pip install 'dupegrid[cuda12]'", exc_type=ImportError
    )
    if not cupy.is_available():
        pytest.skip("no NVIDIA GPU")
    a, b = thumbs("random", 40, 1), thumbs("near", 40, 2)
    x, y = (cupy.asarray(images) for images in (a, b))
    for choice in arrays.CHOICES.values():
        np.testing.assert_array_equal(cupy.asnumpy(kernel.mse_block(x, y, choice)), kernel.mse_block(a, b, choice))
    np.testing.assert_array_equal(cupy.asnumpy(kernel.exact_sse(x, y)), kernel.exact_sse(a, b))
    points = cupy.asarray(a.reshape(40, -1)[:, :32].astype(np.float32))
    exact = ((cupy.asnumpy(points)[:, None] - cupy.asnumpy(points)[None]) ** 2).sum(axis=2)
    found = np.zeros(exact.shape, bool)
    limit, right = float(np.median(exact)), kernel.right_operand(points)
    rows = kernel.candidates(kernel.left_operand(right), right, limit)
    found[tuple(cupy.asnumpy(row) for row in rows)] = True
    assert found[exact <= limit].all()
