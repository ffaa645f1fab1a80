"""Every benchmark runs once at small size; how long it takes decides nothing."""

from pathlib import Path

import pytest

import dupegrid
from tests.benchmarks import measure
from tests.benchmarks.collection import make_run
from tests.whole.test_exact import assert_exact


@pytest.mark.slow
def test_benchmarks_run(tmp_path: Path) -> None:
    rows = measure.index(tmp_path, most=20, repeats=1) + measure.incremental(tmp_path, 40, 5)
    more, rate = measure.compare(make_run(tmp_path / "run", 60), "rotations", 50, repeats=1)
    assert len(rows) >= 2
    assert measure.table(rows + more).count("\n") == len(rows) + 4
    assert rate > 0


def test_a_made_collection_is_a_true_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 60, thumb=16, threshold=2000)
    dupegrid.compare(run, quiet=True)
    dupegrid.cluster(run)
    dupegrid.report(run)
    assert len(dupegrid.open_run(run).matches) > 0
    assert_exact(dupegrid.open_run(run))
