"""Precision and recall, against every pair written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dupegrid.core.errors import UsageError
from dupegrid.results.questions.evaluate import evaluate
from dupegrid.results.schemas import EVALUATION
from tests.helpers.pairs import Drawn, drawn


@settings(max_examples=30)
@given(drawn(), st.data())
def test_precision_and_recall_are_those_of_all_pairs(case: Drawn, data: st.DataObject) -> None:
    ids = st.integers(-1, len(case.images) - 1)
    drawn_truth = data.draw(st.lists(st.tuples(ids, ids), max_size=12))
    columns = np.array(drawn_truth, np.int64).reshape(-1, 2).T
    truth = {frozenset(pair) for pair in drawn_truth if len(set(pair)) == 2 and -1 not in pair}
    total = len(truth) + sum(-1 in pair for pair in drawn_truth)
    if not total:
        with pytest.raises(UsageError, match="no pair"):
            evaluate(case.images, case.matches, (columns[0], columns[1]))
        return
    table = evaluate(case.images, case.matches, (columns[0], columns[1]))
    assert table.schema == EVALUATION
    assert table["threshold"].to_pylist() == sorted(set(case.score.values()))
    for row in table.to_pylist():
        found = {pair for pair, score in case.score.items() if score <= row["threshold"]}
        correct = len(found & truth)
        assert (row["found"], row["correct"], row["missed"]) == (len(found), correct, total - correct)
        assert row["precision"] == pytest.approx(correct / len(found))
        assert row["recall"] == pytest.approx(correct / total)
