"""What `import dupegrid` offers."""

import pydoc
import re
from pathlib import Path

import pyarrow as pa
import pytest

import dupegrid
from dupegrid.core.errors import ConfigError, RunDirError, StoreError, UsageError
from tests.conftest import save


def test_exported_names() -> None:
    assert dupegrid.__all__ == sorted(dupegrid.__all__)
    assert all(hasattr(dupegrid, name) for name in dupegrid.__all__)


def test_help_of_a_run_says_what_its_tables_are() -> None:
    text = pydoc.render_doc(dupegrid.Run, renderer=pydoc.plaintext)
    assert " object>" not in text
    for name in ("images", "matches", "clusters", "relations", "thumbs", "mse"):
        assert f" |  {name} = read when it is first asked for\n |      " in text, name


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    return dupegrid.run(pictures, out=tmp_path_factory.mktemp("api") / "run", cutoff=400, quiet=True)


def test_tables(run: dupegrid.Run) -> None:
    for table in (run.images, run.matches, run.clusters):
        assert isinstance(table, pa.Table)
        assert len(table) == len(table.to_pandas())


def test_tables_as_dask_dataframes(run: dupegrid.Run) -> None:
    for name in ("images", "matches", "clusters"):
        assert len(run.frame(name)) == len(getattr(run, name))
    with pytest.raises(UsageError, match="no table 'pairs'"):
        run.frame("pairs")


def test_arrays_are_lazy_and_agree_with_the_tables(run: dupegrid.Run) -> None:
    assert run.thumbs.shape == (len(run.images), 64, 64, 3)
    row = run.matches.to_pylist()[0]
    assert run.mse[row["a"], row["b"]].compute() == row["mse"]


def test_a_contact_sheet_shows_every_picture_of_a_cluster(run: dupegrid.Run) -> None:
    html = run.show(0)._repr_html_()
    assert html.count("<img") == run.clusters["cluster"].to_pylist().count(0)
    of_two, *each = (re.findall("<section.*?</section>", run.show(some).html, re.DOTALL) for some in ([1, 0], 1, 0))
    assert of_two == each[0] + each[1]
    assert len(of_two) == 2
    with pytest.raises(UsageError, match="no cluster 9999"):
        run.show(9999)


def test_the_threshold_can_be_moved_up_to_the_cutoff(run: dupegrid.Run) -> None:
    before = run.receipt
    fewer = dupegrid.cluster(run.path, threshold=1)
    assert len(fewer.clusters) < len(run.clusters)
    assert dupegrid.open_run(run.path).config.threshold == 1
    more = dupegrid.cluster(run.path, threshold=400)
    assert len(more.clusters) >= len(run.clusters)
    assert run.receipt == before
    for threshold in (1, 400):
        summary = dupegrid.cluster(run.path, threshold).summary.as_dict()
        cut = run.at(threshold).summary.as_dict()
        assert cut == {name: summary[name] for name in cut}
    with pytest.raises(UsageError, match="above this run's cutoff"):
        dupegrid.cluster(run.path, threshold=401)


def test_what_is_not_finished_names_the_call_that_finishes_it(pictures: Path, tmp_path: Path) -> None:
    run = dupegrid.index(pictures, out=tmp_path / "run", quiet=True)
    with pytest.raises(StoreError, match="dupegrid run --out RUN"):
        dupegrid.cluster(run.path)
    with pytest.raises(StoreError, match="dupegrid run --out RUN"):
        dupegrid.compare(run.path, quiet=True).clusters  # noqa: B018
    with pytest.raises(RunDirError, match="no run directory"):
        dupegrid.open_run(tmp_path / "nowhere")


def test_an_image_is_found_by_its_name_as_it_is_typed_where_its_accents_are_apart(tmp_path: Path) -> None:
    save(tmp_path / "in/cafe\u0301.png", 0)
    run = dupegrid.index(tmp_path / "in", out=tmp_path / "run", thumb=8, scheduler="sync", quiet=True)
    assert [run.id_of(name) for name in ("caf\u00e9.png", "in/caf\u00e9.png", tmp_path / "in/caf\u00e9.png")] == [
        0,
        0,
        0,
    ]


def test_another_thumbnail_size_is_refused_by_name(pictures: Path, tmp_path: Path) -> None:
    dupegrid.index(pictures, out=tmp_path / "run", thumb=16, quiet=True)
    with pytest.raises(RunDirError, match="thumb = 16, asked for is 32: choose another --out, or ask for 16"):
        dupegrid.run(pictures, out=tmp_path / "run", thumb=32, quiet=True)


def test_thumbnails_of_what_is_no_image_are_refused(run: dupegrid.Run) -> None:
    """It said that the run was damaged."""
    for ids in ([0, len(run.images)], [-1], 0, ["0000.jpg"]):
        with pytest.raises(UsageError, match=r"no image|by their ids"):
            run.thumbs_of(ids)
    assert run.thumbs_of([]).shape == (0, *run.thumbs.shape[1:])


def test_settings_are_checked() -> None:
    for settings, message in (
        ({"threshold": -1}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"thumb": 3}, "thumb"),
        ({"orientations": "most"}, "orientations"),
        ({"cutoff": 10}, "cutoff 10 is below threshold 50"),
        ({"scheduler": "pbs"}, "scheduler"),
        ({"tresh": 1}, "unknown setting 'tresh'"),
        ({"against": ["x"], "scope": "within"}, "--against"),
    ):
        with pytest.raises(ConfigError, match=message):
            dupegrid.run("x", out="y", **settings)


@pytest.mark.parametrize("name", ["file", "flags", "kept_cutoff", "path", "self", "values"])
def test_a_wrong_keyword_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    for call in (dupegrid.run, dupegrid.index):
        with pytest.raises(ConfigError, match=f"^unknown setting '{name}'"):
            call("x", out=tmp_path / "run", **{name: "y"})
    with pytest.raises(ConfigError, match=f"^unknown setting '{name}'"):
        dupegrid.estimate("x", **{name: "y"})


def test_paths_may_be_a_keyword_but_not_both(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        dupegrid.run("x", out=tmp_path / "run", paths=["y"])
    assert len(dupegrid.index(paths=[pictures], out=tmp_path / "run", thumb=8, quiet=True).images) > 20


def test_version() -> None:
    assert dupegrid.__version__.count(".") == 2
    assert "__version__" in dir(dupegrid)


def test_estimate_reckons_the_disk_that_a_run_takes(pictures: Path, tmp_path: Path) -> None:
    settings = {"thumb": 32, "orientations": "all"}
    reckoned = dupegrid.estimate(pictures, **settings)
    run = dupegrid.run(pictures, out=tmp_path / "run", quiet=True, **settings)
    stores = [run.path / name for name in ("thumbs.zarr", "levels.zarr", "sorted.zarr")]
    # All but what is there once, whatever the number of files; chunks are full here, or nearly so.
    taken = sum(file.stat().st_size for store in stores for file in store.rglob("c.*"))
    assert reckoned.disk_bytes - reckoned.images * 300 <= taken * 1.02
    assert reckoned.disk_bytes >= taken * 0.6


def test_old_clusters_stay_until_the_new_ones_are_written(run: dupegrid.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dupegrid.cluster(run.path, threshold=50).clusters

    def fail(*_args: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("dupegrid.results.clusters.reasons", fail)
        with pytest.raises(MemoryError):
            dupegrid.cluster(run.path, threshold=50)
        assert dupegrid.open_run(run.path).clusters.equals(before)
        with pytest.raises(MemoryError):
            dupegrid.cluster(run.path, threshold=60)
    with pytest.raises(StoreError, match=r"of other settings.* open the run again"):  # those of 50 are none of 60
        print(dupegrid.open_run(run.path).clusters)
    dupegrid.cluster(run.path, threshold=50)
