"""Tilings: every pair of images is in exactly one tile."""

from hypothesis import given
from hypothesis import strategies as st

from dupegrid.pairs.grid import Grid, default_side


@given(images=st.integers(0, 40), side=st.integers(1, 45))
def test_every_pair_is_in_one_tile(images: int, side: int) -> None:
    grid = Grid(images, side)
    seen = [
        (a, b)
        for i, j in grid.tiles().tolist()
        for a in range(images)[grid.rows(i)]
        for b in range(images)[grid.rows(j)]
        if a < b
    ]
    assert sorted(seen) == [(a, b) for a in range(images) for b in range(a + 1, images)]
    assert sum(grid.pairs(i, j) for i, j in grid.tiles().tolist()) == len(seen)


@given(st.integers(48, 3 * 256 * 256))
def test_a_panel_of_the_default_side_fits_64_mib(values: int) -> None:
    side = default_side(values)
    assert side == 16 or 4 * values * side <= 1 << 26
