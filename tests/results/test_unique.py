"""What is on one side only, against every pair written out."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dupegrid.results.questions.unique import unique
from dupegrid.results.schemas import UNIQUE
from tests.helpers.pairs import THRESHOLD, Drawn, drawn


@settings(max_examples=30)
@given(drawn(), st.data(), st.booleans(), st.booleans())
def test_unique_is_what_has_no_pair_with_another_side(
    case: Drawn, data: st.DataObject, by_group: bool, one: bool
) -> None:
    n = len(case.images)
    side = data.draw(st.lists(st.integers(0, 0 if one else 1 if by_group else 2), min_size=n, max_size=n))
    column, values = ("group", pa.array(["ab"[s] for s in side])) if by_group else ("root", pa.array(side, pa.int32()))
    images = case.images.set_column(case.images.column_names.index(column), column, values)
    table = unique(images, case.matches, THRESHOLD, one)
    assert table.schema == UNIQUE
    near, expected = case.near(), []
    for x in case.ok:
        if not any((x, y) in near and (one or side[x] != side[y]) for y in case.ok):
            expected.append((side[x], images["path"][x].as_py(), x))
    assert table["image"].to_pylist() == [x for _, _, x in sorted(expected)]
