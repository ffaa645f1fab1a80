"""Every benchmark runs once at small size; how long it takes decides nothing."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import dupegrid
from dupegrid.app.demo import drawn
from tests.benchmarks import collection, measure
from tests.benchmarks.collection import make_run
from tests.benchmarks.edits import DEFAULT, EDITS, encoded, recalls, thumbnails, unlike
from tests.whole.test_exact import assert_exact


@pytest.fixture(autouse=True)
def few_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops are taken from few pictures, or most of the time would go into opening these."""
    few = collection.sources(20)
    for module in (collection, measure):
        monkeypatch.setattr(module, "sources", lambda *_: few)


@pytest.mark.slow
def test_benchmarks_run(tmp_path: Path) -> None:
    rows = measure.index(tmp_path, most=2, repeats=1) + measure.incremental(tmp_path, 40, 5)
    more, rate = measure.compare(make_run(tmp_path / "run", 60), "rotations", 50, repeats=1)
    assert len(rows) >= 2
    assert measure.table(rows + more).count("\n") == len(rows) + 4
    assert rate > 0


def test_the_table_of_edits_counts_what_is_found() -> None:
    images = [drawn(np.random.default_rng(seed)) for seed in range(5)]
    looks = {"looks": ("full", "centre95")}
    edited = {"": images, **{name: [EDITS[name](image) for image in images] for name in ("crop, 5 %", "gamma 1.4")}}
    thumbs = {name: thumbnails([encoded(image) for image in several], looks) for name, several in edited.items()}
    apart = {
        name: [[min(mse(x, y) for x in a for y in b) for b in several] for a in thumbs[""]]
        for name, several in thumbs.items()
    }
    cut, found = recalls(thumbs, DEFAULT)
    known = min(row[k] for table in apart.values() for j, row in enumerate(table) for k in range(5) if j != k)
    assert cut == pytest.approx(known)
    for name, table in apart.items():
        own = np.diag(table)
        assert found[name] == [(own <= 50).mean(), (own < cut).mean()]
    assert found["crop, 5 %"] == [1, 1]


def test_the_table_of_edits_goes_by_the_ssim_of_the_looks_that_match_best() -> None:
    from skimage.metrics import structural_similarity  # here, as most processes of `make test` do without

    images = [drawn(np.random.default_rng(seed)) for seed in range(3)]
    edited = {"": images, "gamma 1.4": [EDITS["gamma 1.4"](image) for image in images]}
    looks = {"looks": ("full", "centre95")}
    thumbs = {name: thumbnails([encoded(image) for image in several], looks) for name, several in edited.items()}
    known = {name: np.full((3, 3), -1.0) for name in thumbs}
    for name, a, b in itertools.product(thumbs, range(3), range(3)):
        x, y = min(itertools.product(thumbs[""][a], thumbs[name][b]), key=lambda pair: mse(*pair))
        if mse(x, y) <= 6000:
            known[name][a, b] = structural_similarity(x.reshape(64, 64, 3), y.reshape(64, 64, 3), channel_axis=2)
    cut, found = recalls(thumbs, apart=partial(unlike, threshold=6000.0))
    assert -cut == pytest.approx(
        max(scores[a, b] for scores in known.values() for a in range(3) for b in {0, 1, 2} - {a})
    )
    assert cut < 1
    assert found["gamma 1.4"] == [np.mean(np.diag(known["gamma 1.4"]) > -cut)]


def mse(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a.astype(int) - b) ** 2).mean())


def test_a_made_collection_is_a_true_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 60, thumb=16, threshold=2000)
    dupegrid.compare(run, quiet=True)
    dupegrid.cluster(run)
    dupegrid.report(run)
    assert len(dupegrid.open_run(run).matches) > 0
    assert_exact(dupegrid.open_run(run))
