"""Metrics of the user's: equal pictures, code that changes, and code that fails."""

import importlib
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import dupegrid
from dupegrid.app.command import cli
from dupegrid.core.errors import ConfigError
from dupegrid.pairs.measure import metric_code
from tests.conftest import save
from tests.helpers import reference

METRIC = "metric_of_a_user:measure"
Edit = Callable[[str], None]


@pytest.fixture
def edit(users_code: Callable[[str, str], None]) -> Edit:
    """Writes the module of METRIC."""
    return lambda text: users_code("metric_of_a_user", f"import numpy as np\n{text}\n")


def body(expression: str) -> str:
    return f"def measure(x, y):\n    return {expression}"


CONSTANT = "np.full((len(x), len(y)), {:.1f})"


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, bool], tuple[Path, Path]]:
    """A folder of so many copies of a picture, or names of one file, and its index; each is made once."""

    @cache
    def made(count: int, link: bool) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp("copies")
        first = save(folder / "photos/000.png", 1)
        for k in range(1, count):
            copy = folder / f"photos/{k:03d}.png"
            copy.hardlink_to(first) if link else copy.write_bytes(first.read_bytes())
        return folder / "photos", dupegrid.index(folder / "photos", out=folder / "run", thumb=8, quiet=True).path

    return made


@pytest.mark.usefixtures("one_chunk")
@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("count", [64, 65])
@pytest.mark.parametrize(("value", "matches"), [(10.0, False), (5.0, True), (3.0, True)])
def test_equal_pictures_have_the_score_of_the_metric_however_many(
    copies: Callable, tmp_path: Path, edit: Edit, count: int, link: bool, value: float, matches: bool
) -> None:
    """W8: 64 or 65 copies, or names of one file."""
    edit(body(CONSTANT.format(value)))
    photos, index = copies(count, link)
    settings = {"metric": METRIC, "threshold": 5, "cutoff": 5, "thumb": 8, "quiet": True}
    run = dupegrid.run(photos, out=shutil.copytree(index, tmp_path / "run"), **settings)
    collapsed = link or count > 64
    listed = (count - 1 if collapsed else count * (count - 1) // 2) if matches else 0
    assert run.matches["score"].to_pylist() == [value] * listed
    assert run.receipt.matches == run.summary.matches == listed
    assert run.summary.duplicates == (count - 1 if matches else 0)
    again = dupegrid.run(photos, out=tmp_path / "run", **settings)
    assert (again.matches, again.receipt) == (run.matches, run.receipt)


def test_equal_pictures_are_compared_under_the_least_orientation(tmp_path: Path, edit: Edit) -> None:
    """W8: a metric may like a picture and its turned copy best; the row says what is then done to b, and its SSE."""
    edit(body("255.0 - np.abs(x[:, None].astype(float) - y[None]).mean(axis=2)"))
    first = save(tmp_path / "photos/0.png", 1)
    (tmp_path / "photos/1.png").hardlink_to(first)
    settings = {"metric": METRIC, "threshold": 255, "thumb": 8, "orientations": "all", "quiet": True}
    row = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", **settings).matches.to_pylist()[0]
    (tmp_path / "photos/1.png").unlink()
    (tmp_path / "photos/1.png").write_bytes(first.read_bytes())
    alone = dupegrid.run(tmp_path / "photos", out=tmp_path / "other", **settings)
    assert row == alone.matches.to_pylist()[0]
    thumb = alone.thumbs[0].compute()
    scores = [
        255 - np.abs(thumb.astype(float) - reference.turn(thumb, name)).mean() for name in reference.ORIENTATIONS["all"]
    ]
    assert row["orientation"] == reference.ORIENTATIONS["all"][int(np.argmin(scores))] != "identity"
    assert row["score"] == min(scores)
    assert row["sse"] == reference.sse(thumb, reference.turn(thumb, row["orientation"])) > 0


def test_matches_of_another_version_of_a_metric_are_made_again(tmp_path: Path, edit: Edit) -> None:
    """W7: its code decides, not its name."""
    for seed in range(4):
        save(tmp_path / f"photos/{seed}.png", seed)
    settings = {"out": tmp_path / "run", "metric": METRIC, "threshold": 5, "thumb": 8, "quiet": True}
    found = []
    for value in (1, 9, 2):
        edit(body(CONSTANT.format(value)))
        found.append(dupegrid.run(tmp_path / "photos", **settings).matches["score"].to_pylist())
    assert found == [[1.0] * 6, [], [2.0] * 6]
    edit(body(CONSTANT.format(3)))
    again = dupegrid.compare(tmp_path / "run", metric=METRIC, quiet=True)
    assert again.matches["score"].to_pylist() == [3.0] * 6
    assert dupegrid.status(tmp_path / "run").cluster is False
    marks = sorted((again.path / "tiles.zarr").glob("c.*"))
    before = [mark.stat().st_mtime_ns for mark in marks]
    edit(body(CONSTANT.format(3)))
    dupegrid.compare(tmp_path / "run", metric=METRIC, quiet=True)
    assert [mark.stat().st_mtime_ns for mark in marks] == before, "the same code: nothing to do"


def test_the_code_of_a_metric_is_its_module_its_version_and_where_it_is_defined(tmp_path: Path, edit: Edit) -> None:
    """W7."""
    texts = [
        "",
        "HELPER = 1\n",
        "__version__ = '1'\n",
        "from tests.pairs.test_features import largest_difference as f\n",
    ]
    codes = []
    for text in texts:
        edit(text + body("f(x, y)"))
        codes.append(metric_code(METRIC))
    edit("from tests.pairs.test_features import largest_difference as measure")
    codes.append(metric_code(METRIC))
    assert len(set(codes)) == 5
    edit("from tests.pairs.test_features import largest_difference as measure")
    assert metric_code(METRIC) == codes[-1]
    assert metric_code("numpy:add").startswith(np.__version__)
    assert metric_code("mse") == metric_code("mae") == ""


def test_what_was_edited_after_the_import_is_not_what_runs(tmp_path: Path, edit: Edit) -> None:
    """W7: matches of the old code never pass for those of the new."""
    edit(body("x"))
    before = metric_code(METRIC)
    module = sys.modules["metric_of_a_user"]
    Path(module.__file__).write_text(body("y"))
    assert metric_code(METRIC) == before
    importlib.reload(module)
    assert metric_code(METRIC) != before


FAILING = {
    "raises at import": "raise RuntimeError('one\\ntwo')",
    "exits at import": "import sys; sys.exit(3)",
    "has a syntax error": "def measure(x, y) return 0",
    "raises": body("1 / 0"),
    "exits": "import sys\n" + body("sys.exit(3)"),
    "another shape": body("np.zeros(len(x))"),
    "more than one": body("np.zeros((len(x), len(y), 1))"),
    "complex": body("np.zeros((len(x), len(y)), complex)"),
    "objects": body("np.full((len(x), len(y)), None)"),
    "text": body("np.full((len(x), len(y)), '1')"),
    "dates": body("np.zeros((len(x), len(y)), 'M8[s]')"),
    "None": body("None"),
    "ragged": body("[[1], [1, 2]]"),
    "NaN": body("np.full((len(x), len(y)), np.nan)"),
}


@pytest.mark.parametrize("text", FAILING.values(), ids=FAILING)
@pytest.mark.parametrize("copies", [1, 2], ids=["different", "linked"])
def test_a_metric_that_fails_is_named_in_one_line(
    tmp_path: Path, edit: Edit, text: str, copies: int, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    edit(text)
    first = save(tmp_path / "photos/a.png", 1)
    (tmp_path / "photos/b.png").hardlink_to(first) if copies == 2 else save(tmp_path / "photos/b.png", 2)
    with pytest.raises(ConfigError) as raised:
        dupegrid.run(tmp_path / "photos", out=tmp_path / "run", metric=METRIC, thumb=8, quiet=True)
    assert f"metric '{METRIC}'" in str(raised.value)
    assert "\n" not in str(raised.value)
    words = ["dupegrid", "run", tmp_path / "photos", "--out", tmp_path / "run", "--metric", METRIC, "--thumb", "8"]
    monkeypatch.setattr(sys, "argv", list(map(os.fspath, words)))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(cli, "_wake_at_signals", lambda: None)
    monkeypatch.setattr(cli, "_leave", sys.exit)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dupegrid: ")]
    assert (stopped.value.code, len(lines)) == (2, 1)
    assert f"metric '{METRIC}'" in lines[0]


def test_nan_where_no_pair_is_asked_for_does_not_matter(tmp_path: Path, edit: Edit) -> None:
    edit(body("np.where((x[:, None] == y[None]).all(axis=2), np.nan, 1.0)"))
    for name, seed in (("p/1.png", 1), ("p/2.png", 1), ("q/3.png", 2)):
        save(tmp_path / name, seed)
    settings = {"metric": METRIC, "threshold": 5, "thumb": 8, "orientations": "none", "quiet": True}
    run = dupegrid.run(tmp_path / "p", against=tmp_path / "q", out=tmp_path / "run", **settings)
    assert run.matches["score"].to_pylist() == [1.0, 1.0]
    with pytest.raises(ConfigError, match="NaN"):
        dupegrid.run(tmp_path / "p", out=tmp_path / "other", **settings)


@pytest.mark.slow
@pytest.mark.usefixtures("workers_forked")
@pytest.mark.parametrize("scheduler", ["processes", "local"])
def test_a_metric_that_fails_elsewhere_is_named_in_one_line(pictures: Path, tmp_path: Path, scheduler: str) -> None:
    metric = "tests.pairs.test_features:wrong_shape"
    with pytest.raises(ConfigError, match="wrong_shape' returned shape") as raised:
        dupegrid.run(pictures, out=tmp_path / "run", metric=metric, thumb=8, scheduler=scheduler, workers=1, quiet=True)
    assert "\n" not in str(raised.value)


def test_a_module_without_a_function_is_no_metric_and_not_imported(tmp_path: Path, edit: Edit) -> None:
    edit(f"open({str(tmp_path / 'OWNED')!r}, 'w').close()")
    save(tmp_path / "photos/a.png", 1)
    with pytest.raises(ConfigError, match="no metric 'metric_of_a_user'"):
        dupegrid.run(tmp_path / "photos", out=tmp_path / "run", metric="metric_of_a_user", quiet=True)
    assert not (tmp_path / "OWNED").exists()


def test_a_worker_with_other_code_of_a_metric_is_told_of(
    tmp_path: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W7: a process that lives on has the module as it was."""
    edit(body(CONSTANT.format(1)))
    for seed in range(2):
        save(tmp_path / f"photos/{seed}.png", seed)
    monkeypatch.setattr(importlib.import_module("dupegrid.app.trust"), "metric_code", lambda _: "the code of today")
    with pytest.raises(ConfigError, match="restart the workers"):
        dupegrid.run(tmp_path / "photos", out=tmp_path / "run", metric=METRIC, thumb=8, quiet=True)
