"""Tilings: every pair of images is in exactly one tile."""

from hypothesis import given
from hypothesis import strategies as st

from dupegrid.pairs.grid import Grid


@given(st.lists(st.integers(1, 9), max_size=8), st.integers(0, 8))
def test_every_pair_with_a_new_image_is_in_one_tile(strips: list[int], new_strips: int) -> None:
    bounds = (0, *(sum(strips[: k + 1]) for k in range(len(strips))))
    new, images = bounds[min(new_strips, len(strips))], sum(strips)
    grid = Grid(bounds, new)
    seen = [
        (a, b)
        for i, j in grid.tiles().tolist()
        for a in range(images)[grid.rows(i)]
        for b in range(images)[grid.rows(j)]
        if a < b
    ]
    assert sorted(seen) == [(a, b) for a in range(new) for b in range(a + 1, images)]
    assert sum(grid.pairs(i, j) for i, j in grid.tiles().tolist()) == len(seen)
