"""Which images are near which, against every pair written out."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dupegrid.results.questions.near import groups, near, nearest
from tests.helpers.pairs import THRESHOLD, Drawn, drawn


@settings(max_examples=30)
@given(drawn(), st.data())
def test_the_nearest_of_some_images_is_that_of_all_pairs(case: Drawn, data: st.DataObject) -> None:
    n = len(case.images)
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    score, who = nearest(near(case.images, case.matches, THRESHOLD), chosen)
    for x in range(n):
        others = [
            (case.score[frozenset((x, y))], y) for y in case.ok if chosen[y] and (x, y) in case.near() and x in case.ok
        ]
        assert (score[x], who[x]) == min(others, default=(np.inf, -1))


@settings(max_examples=30)
@given(drawn())
def test_groups_are_what_is_joined_by_all_pairs(case: Drawn) -> None:
    group = list(range(len(case.images)))
    for _ in group:
        for x, y in case.near():
            group[x] = min(group[x], group[y])
    assert groups(near(case.images, case.matches, THRESHOLD)).tolist() == group


@settings(max_examples=30)
@given(drawn())
def test_a_lower_threshold_leaves_the_pairs_under_it(case: Drawn) -> None:
    everything = np.ones(len(case.images), bool)
    fewer = nearest(near(case.images, case.matches, np.inf).under(THRESHOLD), everything)
    for found, wanted in zip(fewer, nearest(near(case.images, case.matches, THRESHOLD), everything), strict=True):
        assert found.tolist() == wanted.tolist()
