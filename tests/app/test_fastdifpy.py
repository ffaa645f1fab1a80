"""The calls of fast-diff-py: its example, its signatures, its options, and the units it counts in."""

import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dupegrid
from dupegrid import FastDiffPyConfig, FastDifPy
from dupegrid.core.errors import ConfigError, RunDirError, UsageError
from tests.conftest import ROOT, picture, save, tree_state
from tests.helpers import reference

# The example of fast-diff-py's own page, with only the import changed.
EXAMPLE = """
from dupegrid import FastDifPy

db = FastDifPy(directory_a="/path/to/folder")
db.index_the_dirs()
db.estimate_disk_usage()

db.first_loop_iteration(compute_hash=True, amount=4, cpu_proc=16)

db.second_loop_iteration(only_matching_aspect=False,
                         make_diff_plots=False,
                         diff_location="/path/to/plot/folder",
                         similarity_threshold=200.0,
                         cpu_proc=16)

db.print_preprocessing_errors()

clusters, low_quality = db.get_duplicates()
db.clean_up()
"""

# Names and defaults of fast-diff-py 0.2.3; the constructor with directories is the one that its page shows.
NEEDED = inspect.Parameter.empty
NEW = {"directory_a": NEEDED, "directory_b": None, "default_db": True, "progress": True, "kwargs": NEEDED}
SIGNATURES: dict[str, dict[str, Any]] = {
    "__init__": NEW | {"directory_a": None},
    "init_new": NEW,
    "init_preexisting_config": {
        "config": None,
        "config_path": None,
        "progress": True,
        "retain_config": True,
        "db": None,
        "integrity_check": False,
    },
    "index_the_dirs": {},
    "estimate_disk_usage": {"print_results": True},
    "first_loop_iteration": {"compute_thumbnails": True, "compute_hash": False, "amount": 4, "cpu_proc": None},
    "second_loop_iteration": {
        "only_matching_aspect": False,
        "only_matching_hash": False,
        "make_diff_plots": False,
        "similarity_threshold": 200.0,
        "gpu_proc": 0,
        "cpu_proc": None,
        "diff_location": None,
    },
    "print_preprocessing_errors": {},
    "print_compare_errors": {},
    "get_duplicates": {"similarity": None, "dif_based": True},
    "clean_up": {"thumbs": True, "db": True, "config": True},
}

OPTIONS = re.findall(
    r"\w+",
    "cfg_path update_timeout retain_config thumbnail_size_x thumbnail_size_y p_root_dir_a p_root_dir_b thumb_dir_a "
    "thumb_dir_b has_dir_b similarity_threshold ignore_names ignore_paths enough_images_to_compare "
    "supported_file_types less_optimized retry_limit verbose state fl_compute_thumbnails fl_compute_hash "
    "fl_shift_amount fl_cpu_proc fl_inserted_counter fl_use_workers database retain_db max_queue_size "
    "sl_matching_hash sl_has_thumb sl_matching_aspect sl_make_diff_plots sl_plot_output_dir sl_gpu_proc sl_cpu_proc "
    "sl_queue_status sl_base_a sl_use_workers sl_use_special_b_algo",
)

Fast = Callable[..., FastDifPy]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fast(tmp_path: Path) -> Fast:
    """One whose directories are indexed, with small thumbnails."""

    def make(*directories: Path, **options: Any) -> FastDifPy:
        db = FastDifPy(*directories, progress=False)
        for name, value in {"thumbnail_size_x": 16, "thumbnail_size_y": 16, **options}.items():
            setattr(db.config, name, value)
        db.index_the_dirs()
        return db

    return make


def labelled(folder: Path, copies: dict[int, int]) -> dict[Path, set[Path]]:
    """Pictures, and so many resized copies of each: the original -> its copies."""
    drawn = {}
    for seed, count in copies.items():
        best = save(folder / f"{seed}.png", seed)
        drawn[best] = {folder / f"sub/{seed}-{k}.jpg" for k in range(count)}
        for k, path in enumerate(sorted(drawn[best])):
            path.parent.mkdir(exist_ok=True)
            picture(seed).resize((80 - 8 * k, 60 - 6 * k)).save(path, quality=92)
    return drawn


def test_the_example_runs_as_printed(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = labelled(tmp_path / "photos", {1: 1, 2: 2, 3: 0, 4: 3})
    (tmp_path / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    before = tree_state(tmp_path / "photos")
    names: dict[str, Any] = {}
    exec(EXAMPLE.replace("/path/to", str(tmp_path)).replace("/folder", "/photos"), names)
    expected = {str(best): set(map(str, copies)) for best, copies in drawn.items() if copies}
    clusters = names["clusters"]
    assert {c["location"]: set(c["duplicates"]) for c in clusters.values()} == expected
    assert all(c["filename"] == os.path.basename(c["path"]) for c in clusters.values())
    assert all((c["width"], c["height"], c["bridges"]) == (96, 72, {}) for c in clusters.values())
    assert sorted(names["low_quality"]) == sorted(set().union(*expected.values()))
    said = capsys.readouterr().out
    assert "File " + str(tmp_path / "photos/broken.jpg") in said
    assert "11 files, 55 pairs" in said
    assert tree_state(tmp_path / "photos") == before
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("method", SIGNATURES)
def test_signatures_are_those_of_fast_diff_py(method: str) -> None:
    called = FastDifPy if method == "__init__" else getattr(FastDifPy, method)
    found = {p.name: p.default for p in inspect.signature(called).parameters.values() if p.name != "self"}
    assert list(found.items()) == list(SIGNATURES[method].items())


def test_every_option_is_there_and_has_its_line_in_both_tables() -> None:
    page = (ROOT / "docs/how-to/fast-diff-py.md").read_text()
    for text in (inspect.getdoc(FastDifPy) or "", page):
        rows = re.findall(r"^\| ([a-z_, ]+) \| .{4,} \|$", text, re.MULTILINE)
        assert [name for row in rows for name in row.split(", ") if name != "option"] == OPTIONS
    config = FastDiffPyConfig()
    config.p_root_dir_a = "/somewhere"
    assert all(hasattr(config, name) for name in OPTIONS)
    with pytest.raises(ConfigError, match="no option 'similarity_treshold'"):
        config.similarity_treshold = 1


def test_similarity_is_divided_by_pixels(tmp_path: Path, fast: Fast) -> None:
    """A pair is found at the value that fast-diff-py gives it, and not under it."""
    flat = np.full((16, 16, 3), 100, np.uint8)
    for name, step in (("a", 0), ("b", 8)):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(flat + np.uint8(step)).save(tmp_path / f"photos/{name}.png")
    db = fast(tmp_path / "photos")
    value = 3 * 8 * 8  # summed over the channels, by the pixels: 192
    db.second_loop_iteration(similarity_threshold=200)
    run = dupegrid.open_run(db.config.run_dir)
    assert run.config.threshold == pytest.approx(66.67, abs=0.01)
    assert run.matches["mse"].to_pylist() == [64]
    clusters, _ = db.get_duplicates(value)
    assert [list(c["bridges"].values()) for c in clusters.values()] == [["flat"]]  # one colour says little
    assert db.get_duplicates(value - 0.01) == ({}, [])


def test_above_the_similarity_of_the_loop_all_is_compared_again(tmp_path: Path, fast: Fast) -> None:
    for seed in range(6):
        save(tmp_path / f"photos/{seed}.png", seed)
    db = fast(tmp_path / "photos")
    db.second_loop_iteration(similarity_threshold=1)
    assert db.get_duplicates() == ({}, [])
    thumbs = dupegrid.open_run(db.config.run_dir).thumbs.compute()
    pairs = [(a, b) for a in range(6) for b in range(a)]
    values = {reference.best(thumbs[a], thumbs[b], "rotations")[0] / 256: {a, b} for a, b in pairs}
    least = min(values)
    (cluster,) = db.get_duplicates(least)[0].values()
    found = {cluster["path"], *cluster["duplicates"]}
    assert found == {str(tmp_path / f"photos/{seed}.png") for seed in values[least]}


def test_two_directories_names_and_sizes(tmp_path: Path, fast: Fast) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for path in (
        a / "x.png",
        a / "y.png",
        a / "no[1].png",
        a / ".temp_thumbnails/t.png",
        b / "z.png",
        b / "skip/s.png",
    ):
        save(path, 1)
    picture(1).resize((48, 36)).save(b / "small.png")
    db = fast(a, b, ignore_names=["no[1].png"], ignore_paths=[str(b / "skip")])
    assert db.estimate_disk_usage(print_results=False) == (2 * 768, 2 * 768)
    db.first_loop_iteration(cpu_proc=1)
    db.second_loop_iteration(only_matching_aspect=True, similarity_threshold=300.0, cpu_proc=1)
    run = dupegrid.open_run(db.config.run_dir)
    ends = {(row["path_a"], row["path_b"]) for row in run.matches.to_pylist()}
    assert ends == {(str(a / "x.png"), str(b / "z.png")), (str(a / "y.png"), str(b / "z.png"))}
    (cluster,) = db.get_duplicates()[0].values()
    assert cluster["path"] == str(b / "z.png")


def test_clusters_by_hash(tmp_path: Path, fast: Fast) -> None:
    """Equal but for the bits that the shift takes away, and turned; pictures that are near by MSE alone are not."""
    pixels = np.asarray(picture(1, (16, 16))) & 0xF0
    (tmp_path / "photos").mkdir()
    near = pixels.copy()
    near[0, 0, 0] ^= 0x10
    drawn = {"a": pixels, "low bits": pixels | 0x09, "turned": np.rot90(pixels), "near": near}
    for name, values in drawn.items():
        Image.fromarray(values).save(tmp_path / f"photos/{name}.png")
    db = fast(tmp_path / "photos")
    db.first_loop_iteration(compute_hash=True, amount=4)
    clusters, low_quality = db.get_duplicates(dif_based=False)
    assert [{c["filename"], *map(os.path.basename, c["duplicates"])} for c in clusters.values()] == [
        {"a.png", "low bits.png", "turned.png"}
    ]
    assert len(low_quality) == 2
    db.second_loop_iteration(similarity_threshold=600)
    assert len(db.get_duplicates()[1]) == 3
    db.second_loop_iteration(only_matching_hash=True, similarity_threshold=600)
    assert len(db.get_duplicates()[1]) == 2
    db.first_loop_iteration(amount=7)
    db.second_loop_iteration()
    with pytest.raises(UsageError, match="has no hash"):
        db.get_duplicates(dif_based=False)
    with pytest.raises(ConfigError, match="the similarity is inf: give a number, 0 or more"):
        db.second_loop_iteration(similarity_threshold=float("inf"))
    with pytest.raises(ConfigError, match="amount is 8: give a whole number from -7 to 7"):
        db.first_loop_iteration(compute_hash=True, amount=8)


def test_a_program_that_stopped_goes_on_by_its_options(tmp_path: Path, opened: list[str]) -> None:
    labelled(tmp_path / "photos", {1: 2, 2: 1})
    options = {"config_path": tmp_path / "kept/my options", "progress": False}
    first = FastDifPy.init_new(tmp_path / "photos", **options)
    first.index_the_dirs()
    first.first_loop_iteration()
    assert len(opened) == 5
    again = FastDifPy.init_preexisting_config(**options)
    assert (again.config.state, again.config.fl_inserted_counter) == ("first_loop_done", 5)
    again.second_loop_iteration()
    assert len(opened) == 5
    clusters, low_quality = FastDifPy.init_preexisting_config(config=again.config).get_duplicates()
    assert (len(clusters), len(low_quality)) == (2, 3)


def test_each_matching_pair_is_drawn_once(tmp_path: Path, fast: Fast) -> None:
    labelled(tmp_path / "photos", {1: 2, 2: 1, 3: 0})
    db, plots = fast(tmp_path / "photos"), tmp_path / "plots"
    db.second_loop_iteration(make_diff_plots=True, diff_location=plots)
    drawn = tree_state(plots)
    assert len(drawn) == 4
    for path in drawn:
        with Image.open(path) as image:
            assert image.size == (4 * (3 * 16 + 4), 64)
    db.second_loop_iteration(make_diff_plots=True, diff_location=plots)
    assert tree_state(plots) == drawn
    for place, said in ((None, "give diff_location"), (tmp_path / "photos/plots", "nothing is written")):
        with pytest.raises(UsageError, match=said):
            db.second_loop_iteration(make_diff_plots=True, diff_location=place)


def test_what_is_not_ours_stays(tmp_path: Path, fast: Fast, cache: Path) -> None:
    labelled(tmp_path / "photos", {1: 1, 2: 0})
    db = fast(tmp_path / "photos")
    db.second_loop_iteration()
    mine = db.config.run_dir / "notes.txt"
    mine.write_text("mine")
    db.clean_up(thumbs=True, db=False, config=False)
    assert not (db.config.run_dir / "thumbs.zarr").exists()
    assert len(db.get_duplicates()[1]) == 1
    db.clean_up()
    assert [path for path in cache.rglob("*") if path.is_file()] == [mine]
    theirs = tmp_path / "task.json"
    theirs.write_text('{"thumbnail_size_x": 64}')
    for act in (
        lambda: FastDifPy.init_new(tmp_path / "photos", config_path=theirs),
        lambda: FastDifPy.init_preexisting_config(config_path=theirs),
        lambda: FastDifPy(tmp_path / "photos", config_path=theirs).clean_up(),
    ):
        with pytest.raises(RunDirError, match="kept here"):
            act()
    assert theirs.read_text() == '{"thumbnail_size_x": 64}'


def test_calls_that_have_to_be_put_right(tmp_path: Path, fast: Fast) -> None:
    save(tmp_path / "photos/one.png", 1)
    db = fast(tmp_path / "photos")
    db.first_loop_iteration()
    db.second_loop_iteration()
    assert db.get_duplicates() == ({}, [])  # one picture is not enough to compare
    with pytest.raises(ConfigError, match="similarity is -3"):
        db.second_loop_iteration(similarity_threshold=-3)
    db.second_loop_iteration()  # nothing of the wrong call is left
    db.clean_up()
    for call in ("first_loop_iteration", "second_loop_iteration", "get_duplicates"):
        with pytest.raises(UsageError, match="call index_the_dirs"):  # it found no duplicates
            getattr(FastDifPy(tmp_path / "photos"), call)()
    with pytest.raises(ConfigError, match="squares"):
        fast(tmp_path / "photos", thumbnail_size_x=32)
    with pytest.raises(ConfigError, match="unknown colour"):
        FastDifPy(tmp_path, colour=True)
    with pytest.raises(ConfigError, match="give directory_a"):
        FastDifPy.init_preexisting_config()
    with pytest.raises(RunDirError, match="would lie inside"):
        fast(tmp_path)
