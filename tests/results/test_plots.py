"""Plots: what is drawn is what the tables say; names are text; in a folder of plots only ours change."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import dupegrid
from dupegrid.core.errors import UsageError
from dupegrid.results.cut import curve, steps
from tests.conftest import save

HOSTILE = [
    b"$x_{^.png",
    b"<img src=x onerror=alert(1)>.png",
    b"\xff\\input{y}.png",
    b"a" * 200 + b".png",
    b"\n\x1b.png",
]


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    out = tmp_path_factory.mktemp("plots") / "run"
    return dupegrid.run(pictures, out=out, thumb=16, cutoff=6000, orientations="all", quiet=True)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """Five pictures that are the same, under names of ill will."""
    folder = tmp_path_factory.mktemp("hostile")
    picture = save(folder / "drawn.png", 1)
    (folder / "photos").mkdir()
    for name in HOSTILE:
        (Path(os.fsdecode(os.fsencode(folder / "photos") + b"/" + name))).write_bytes(picture.read_bytes())
    return dupegrid.run(folder / "photos", out=folder / "run", thumb=16, quiet=True)


@pytest.fixture(scope="module", autouse=True)
def _no_window() -> None:
    """Loaded here, as matplotlib takes a second, and most processes of `make test` do without."""
    import matplotlib

    matplotlib.use("Agg")


def subplots() -> Any:
    """Axes of a figure of their own."""
    from matplotlib.figure import Figure

    return Figure().subplots()


@pytest.fixture
def ax() -> Any:
    return subplots()


def of_folders() -> pa.Table:
    return pa.table(
        {"folder_a": ["x", "x"], "folder_b": ["y", "$z_{"], "percent_a": [50.0, 1.0], "percent_b": [100.0, 2.5]}
    )


def _drawn(name: str) -> Callable[..., object]:
    return lambda run, ax=None: getattr(dupegrid.plots, name)(run, ax=ax)


DRAWN: dict[str, Callable[..., object]] = {
    **{name: _drawn(name) for name in ("histogram", "thresholds", "window", "bands", "progress")},
    "difference": lambda run, ax=None: dupegrid.plots.difference(run, 0, 1, ax=ax),
    "folders": lambda run, ax=None: dupegrid.plots.folders(of_folders(), ax=ax),
    "heat_map": lambda run, ax=None: dupegrid.plots.heat_map([[1, 2.5]], ["$x_{"], ["y", "z"], ax=ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_each_plot_gives_back_its_axes_and_shows_nothing(
    name: str, run: dupegrid.Run, ax: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import axes, pyplot

    monkeypatch.setattr(pyplot, "show", lambda: pytest.fail("shown"))
    before = pyplot.get_fignums()
    assert DRAWN[name](run, ax=ax) is ax
    assert pyplot.get_fignums() == before
    drawn = DRAWN[name](run)
    assert isinstance(drawn, axes.Axes)
    assert drawn is not ax
    pyplot.close("all")


def test_the_bars_are_all_matches(run: dupegrid.Run, ax: Any) -> None:
    dupegrid.plots.histogram(run, ax)
    mse = run.matches["mse"].to_numpy()
    near, far = (patch.get_data().values.sum() for patch in ax.patches)
    assert (near, far) == ((mse <= 50).sum(), (mse > 50).sum())
    assert far > near > 0


def test_the_curve_is_what_a_cut_says_at_each_threshold(run: dupegrid.Run) -> None:
    thresholds = steps(50, 6000)
    assert {0, 50, 6000} <= set(thresholds)
    for row in curve(run.images, run.match_scores, run.config, thresholds[::5]).to_pylist():
        cut = run.at(row["threshold"])
        assert row["matches"] == len(cut.matches)
        roles = cut.clusters["role"].to_pylist()
        assert (row["clusters"], row["duplicates"], row["bridges"]) == tuple(
            map(roles.count, ("keep", "duplicate", "bridge"))
        )
    (row,) = curve(run.images, run.match_scores, run.config, [50]).to_pylist()
    assert row["duplicate_bytes"] == run.summary.duplicate_bytes
    assert steps(0, 0).tolist() == [0]


def test_the_curve_goes_by_what_people_decided(tmp_path: Path) -> None:
    a, b = (save(tmp_path / "photos" / name, 1, quality=quality) for name, quality in (("a.jpg", 90), ("b.jpg", 60)))
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=16, quiet=True, scheduler="sync")
    assert run.summary.duplicates == 1
    dupegrid.decide(run, a, b, "not-same")
    ax = dupegrid.plots.thresholds(dupegrid.cluster(run.path), subplots())
    assert {str(line.get_label()): line.get_ydata()[-1] for line in ax.get_lines()}["duplicates"] == 0


def test_a_window_is_that_of_the_matrix(run: dupegrid.Run) -> None:
    for images in (slice(None), [5, 0, 3]):
        ax = dupegrid.plots.window(run, images, subplots())
        ids = np.arange(len(run.images))[images]
        drawn = ax.images[0].get_array()
        assert np.array_equal(np.ma.filled(drawn, np.nan), run.mse.compute()[ids][:, ids], equal_nan=True)


def test_the_bands_hold_each_pair_once(run: dupegrid.Run, ax: Any) -> None:
    dupegrid.plots.bands(run, edges=[0, 1, 50, 6000], each=3, ax=ax)
    mse, labels = run.matches["mse"].to_numpy(), [text.get_text() for text in ax.get_yticklabels()]
    counts = [(mse <= 1).sum(), ((mse > 1) & (mse <= 50)).sum(), (mse > 50).sum()]
    assert [int(label.split("\n")[1].split()[0].replace(",", "")) for label in labels] == counts
    assert len(ax.images) == 2 * sum(min(3, count) for count in counts)


def test_the_difference_has_the_mse_of_the_pair_for_its_mean(run: dupegrid.Run, ax: Any) -> None:
    row = run.pairs().matches.to_pylist()[-1]
    dupegrid.plots.difference(run, row["a"], row["b"], ax)
    assert ax.images[2].get_array().mean() == pytest.approx(row["mse"])
    assert f"{row['mse']:.4g}" in ax.get_title()


def test_progress_before_and_after(run: dupegrid.Run, pictures: Path, tmp_path: Path) -> None:
    assert dupegrid.plots.progress(run, subplots()).get_title() == "1 of 1 tile compared"
    started = dupegrid.index(pictures, out=tmp_path / "run", thumb=16, quiet=True)
    assert dupegrid.plots.progress(started, subplots()).get_title() == "0 of 0 tiles compared"


def test_a_heat_map_of_folders_goes_both_ways(ax: Any) -> None:
    dupegrid.plots.folders(of_folders(), ax)
    drawn = np.ma.filled(ax.images[0].get_array(), np.nan)
    assert np.array_equal(drawn, [[np.nan, 50, 1], [100, np.nan, 0], [2.5, 0, np.nan]], equal_nan=True)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["x", "y", "$z_{"]
    named = pa.table({"split_a": ["train"], "split_b": ["test"], "percent_a": [4.0], "percent_b": [40.0]})
    found = dupegrid.plots.split_matrix(named, subplots()).images[0].get_array()
    assert found.tolist() == [[0, 4], [40, 0]]


def test_names_are_drawn_as_they_are(hostile: dupegrid.Run, tmp_path: Path) -> None:
    from matplotlib import rc_context

    with rc_context({"text.usetex": True}):  # as somebody has it for formulas
        done = dupegrid.plots.save(hostile, tmp_path / "plots", most=4)
        assert (done.drawn, done.left_out) == (4, 6)
        ax = dupegrid.plots.heat_map(np.eye(5), [os.fsdecode(name) for name in HOSTILE], list("abcde"), subplots())
        assert not any(text.get_usetex() for text in ax.get_yticklabels())
    ax = dupegrid.plots.heat_map(np.eye(5), [os.fsdecode(name) for name in HOSTILE], list("abcde"), subplots())
    ax.figure.savefig(tmp_path / "map.png")


def test_a_folder_of_plots_is_gone_on_with(run: dupegrid.Run, tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    near = {f"{row['a']}-{row['b']}.png": row for row in run.matches.to_pylist() if row["mse"] <= 50}
    done = dupegrid.plots.save(run, folder, most=5)
    assert (done.drawn, done.there, done.left_out) == (5, 0, len(near) - 5)
    first = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert max(near[name]["mse"] for name in first) <= min(row["mse"] for n, row in near.items() if n not in first)
    with Image.open(folder / next(iter(first))) as picture:
        assert picture.size == (720, 300)
    wrong, right = sorted(first)[:2]
    (folder / wrong).write_bytes((folder / right).read_bytes())  # a plot of another pair
    done = dupegrid.plots.save(run, folder, most=7)
    assert (done.drawn, done.there) == (3, 4)
    assert {file.name for file in folder.iterdir()} <= near.keys()
    assert all((folder / name).stat().st_mtime_ns == at for name, at in first.items() if name != wrong)
    assert (folder / wrong).read_bytes() != (folder / right).read_bytes()


@pytest.mark.parametrize("what", ["file", "link", "folder"])
def test_what_is_not_ours_keeps_its_place(what: str, run: dupegrid.Run, tmp_path: Path) -> None:
    row = run.pairs().matches.to_pylist()[0]
    place, other = tmp_path / "plots" / f"{row['a']}-{row['b']}.png", tmp_path / "other.png"
    place.parent.mkdir()
    Image.new("RGB", (2, 2)).save(other)
    {
        "file": lambda: place.write_bytes(other.read_bytes()),
        "link": lambda: place.symlink_to(other),
        "folder": place.mkdir,
    }[what]()
    before = other.read_bytes()
    with pytest.raises(UsageError, match="was not drawn by dupegrid, and stays"):
        dupegrid.plots.save(run, place.parent)
    assert other.read_bytes() == before
    assert [file.name for file in place.parent.iterdir()] == [place.name]


def test_calls_that_cannot_be(run: dupegrid.Run, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for call, message in (
        (lambda: dupegrid.plots.save(run, pictures / "plots"), "lies inside"),
        (lambda: dupegrid.plots.save(run, tmp_path / "file"), "cannot write plots"),
        (lambda: dupegrid.plots.save(run, 5), "give one path"),
        (lambda: dupegrid.plots.save(run, tmp_path, most=-1), "most is -1"),
        (lambda: dupegrid.plots.window(run, range(1001)), "too large|no image"),
        (lambda: dupegrid.plots.window(run, ["x"]), "by their ids"),
        (lambda: dupegrid.plots.difference(run, 0, 10**6), "no image 1000000"),
        (lambda: dupegrid.plots.difference(run, 0, len(run.images) - 1), "was not read"),
        (lambda: dupegrid.plots.heat_map([[1]], ["a", "b"], ["c"]), "takes no"),
        (lambda: dupegrid.plots.folders(run), "what dupegrid.folders .* gives, .* columns folder_a"),
    ):
        with pytest.raises(UsageError, match=message):
            call()
    assert not (pictures / "plots").exists()


def test_a_run_without_matches_is_drawn_too(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    save(tmp_path / "one/a.png", 1)
    for folder in ("none", "one"):
        run = dupegrid.run(tmp_path / folder, out=tmp_path / f"run-{folder}", thumb=16, threshold=0, quiet=True)
        for name in ("histogram", "thresholds", "window", "bands", "progress"):
            DRAWN[name](run, ax=subplots())
        assert dupegrid.plots.save(run, tmp_path / "plots").drawn == 0
