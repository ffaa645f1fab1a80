"""The kernel against integers: no pair at or under the limit is ever lost to rounding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupegrid.pairs import kernel
from dupegrid.pairs.matches import sse_limit
from tests import reference

SIDE = 8
KINDS = ("random", "saturated", "near", "one_pixel", "equal", "flat")


def thumbs(kind: str, n: int, seed: int) -> np.ndarray:
    """n images of one kind, chosen to be hard: near each other, at the ends of the range, or all the same."""
    random = np.random.default_rng(seed)
    base = random.integers(0, 256, (1, SIDE, SIDE, 3))
    images = {
        "random": lambda: random.integers(0, 256, (n, SIDE, SIDE, 3)),
        "saturated": lambda: random.choice([0, 255], (n, SIDE, SIDE, 3)),
        "near": lambda: np.clip(base + random.integers(-9, 10, (n, SIDE, SIDE, 3)), 0, 255),
        "one_pixel": lambda: np.where(
            np.arange(SIDE * SIDE * 3).reshape(1, SIDE, SIDE, 3) < np.arange(n)[:, None, None, None], 255 - base, base
        ),
        "equal": lambda: np.repeat(base, n, axis=0),
        "flat": lambda: np.broadcast_to(random.integers(0, 256, (n, 1, 1, 3)), (n, SIDE, SIDE, 3)),
    }[kind]()
    return np.ascontiguousarray(images).astype(np.uint8)


@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(2, 14),
    seed=st.integers(0, 2**32 - 1),
    choice=st.sampled_from(["none", "rotations", "all"]),
    rank=st.floats(0, 1),
)
def test_candidates_hold_every_pair_at_the_limit(kind: str, n: int, seed: int, choice: str, rank: float) -> None:
    images = thumbs(kind, n, seed)
    exact = {(a, b): reference.best(images[a], images[b], choice)[0] for a in range(n) for b in range(n)}
    limit = sorted(exact.values())[int(rank * (len(exact) - 1))]  # some pair lies at the limit itself
    x = kernel.centred(images)
    found = set()
    for name in kernel.CHOICES[choice]:
        y = kernel.centred(kernel.turned(images, name))
        a, b = kernel.candidates(x, y, kernel.scaled_norms(x), kernel.scaled_norms(y), limit)
        found |= set(zip(a.tolist(), b.tolist(), strict=True))
    assert {pair for pair, sse in exact.items() if sse <= limit} <= found


@pytest.mark.parametrize("values", [48, 3 * 64 * 64, 3 * 256 * 256])
def test_the_margin_covers_the_worst_rounding(values: int) -> None:
    """Black against white, and long vectors whose float32 sums round at every step."""
    random = np.random.default_rng(values)
    images = random.choice([0, 1, 254, 255], (24, values)).astype(np.uint8)
    images[0], images[1] = 0, 255
    x = images.astype(np.float32) - 128
    difference = images[:, None].astype(np.int64) - images[None].astype(np.int64)
    exact = np.einsum("abk,abk->ab", difference, difference) if values < 20000 else (difference**2).sum(2)
    norms = kernel.scaled_norms(x)
    for limit in np.unique(exact)[::7].tolist():
        found = np.zeros(exact.shape, bool)
        found[kernel.candidates(x, x, norms, norms, limit)] = True
        assert found[exact <= limit].all()


@given(
    seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS), choice=st.sampled_from(["none", "rotations", "all"])
)
def test_best_orientation_is_the_first_of_the_least(seed: int, kind: str, choice: str) -> None:
    images = thumbs(kind, 10, seed)
    a, b = images[:5], images[5:]
    sse, orientation = kernel.best_orientation(a, b, kernel.CHOICES[choice])
    found = [(int(s), kernel.ORIENTATIONS[o]) for s, o in zip(sse, orientation, strict=True)]
    assert found == [reference.best(p, q, choice) for p, q in zip(a, b, strict=True)]


@pytest.mark.parametrize("choice", ["none", "rotations", "all"])
def test_mse_block_is_exact(choice: str) -> None:
    a, b = thumbs("random", 5, 1), thumbs("saturated", 7, 2)
    expected = [[reference.best(p, q, choice)[0] / p.size for q in b] for p in a]
    np.testing.assert_array_equal(kernel.mse_block(a, b, kernel.CHOICES[choice]), expected)


def test_every_orientation_has_its_inverse_in_the_same_choice() -> None:
    """A pair may be met from either side, so a choice of orientations must be closed under undoing."""
    image = thumbs("random", 1, 3)
    for names in kernel.CHOICES.values():
        for name in names:
            assert any(np.array_equal(kernel.turned(kernel.turned(image, name), undo), image) for undo in names)


@given(mse=st.floats(0, 65025), values=st.sampled_from([48, 3072, 12288]))
def test_the_limit_is_the_largest_sse_within_the_threshold(mse: float, values: int) -> None:
    limit = sse_limit(mse, values)
    assert limit / values <= mse < (limit + 1) / values
