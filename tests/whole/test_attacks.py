"""What an attacker of this project found once, kept from coming back."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dupegrid
from dupegrid.app import demo
from dupegrid.core.errors import InputError, RunDirError, StoreError, UsageError
from dupegrid.images.recipe import Reading, decode
from tests.conftest import named_matches, save
from tests.helpers.forks import started
from tests.images.test_thumbnail import encoded, mse, thumb


@pytest.fixture(scope="module")
def finished(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    out = tmp_path_factory.mktemp("finished") / "run"
    return dupegrid.run(pictures, out=out, threshold=5, orientations="none", quiet=True)


@pytest.fixture
def run(finished: dupegrid.Run, tmp_path: Path) -> dupegrid.Run:
    """A copy of that run."""
    return dupegrid.open_run(shutil.copytree(finished.path, tmp_path / "run"))


def test_the_demo_never_draws_over_other_files(tmp_path: Path) -> None:
    photo = save(tmp_path / "mine/pictures/0000.jpg", 1)
    before = photo.read_bytes()
    with pytest.raises(RunDirError, match="other files"):
        demo.demo(tmp_path / "mine")
    assert photo.read_bytes() == before
    assert len(list(photo.parent.iterdir())) == 1


def test_matches_of_other_settings_are_not_taken_for_those_of_this_run(run: dupegrid.Run, pictures: Path) -> None:
    dupegrid.index(pictures, out=run.path, orientations="all", threshold=400, quiet=True)
    assert dupegrid.status(run).cluster is False
    for read in (lambda: dupegrid.cluster(run), lambda: dupegrid.report(run), lambda: dupegrid.open_run(run).matches):
        with pytest.raises(StoreError, match=r"dupegrid (run|compare|cluster)"):
            read()


@pytest.mark.usefixtures("impatient")
def test_a_run_that_fails_leaves_the_old_one_as_it_was(run: dupegrid.Run, pictures: Path) -> None:
    before = run.saved
    with pytest.raises(UsageError):
        dupegrid.run(pictures, out=run.path, threshold=400, scheduler="tcp://127.0.0.1:1", quiet=True)
    assert dupegrid.open_run(run).saved == before
    assert dupegrid.cluster(run).clusters == run.clusters


def test_clusters_of_another_threshold_are_not_reported(pictures: Path, tmp_path: Path) -> None:
    run = dupegrid.run(pictures, out=tmp_path / "run", threshold=200, quiet=True)
    dupegrid.compare(run, threshold=5, quiet=True)
    assert dupegrid.status(run).cluster is False
    with pytest.raises(StoreError, match="dupegrid cluster"):
        dupegrid.report(run)


def test_a_wider_cutoff_is_kept_and_used(run: dupegrid.Run, pictures: Path) -> None:
    wide = dupegrid.run(pictures, out=run.path, cutoff=400, quiet=True)
    again = dupegrid.run(pictures, out=run.path, threshold=20, quiet=True)
    assert again.config.cutoff == 400
    assert again.matches == wide.matches


def test_missing_thumbnails_are_never_black_pictures(run: dupegrid.Run) -> None:
    (run.path / "thumbs.zarr/c.0.0.0.0").unlink()
    opened = dupegrid.open_run(run)
    for read in (
        lambda: dupegrid.report(run),
        lambda: opened.mse,
        lambda: opened.thumbs,
        lambda: dupegrid.compare(run, orientations="all", quiet=True),
    ):
        with pytest.raises(StoreError, match="lacks 1 of"):
            read()


def test_deep_grey_with_a_transparent_value_is_scaled_too() -> None:
    grey = Image.fromarray((np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16))
    transparent = decode(encoded(grey, transparency=0), Reading(32)).thumb
    assert transparent is not None
    assert mse(transparent, thumb(grey)) == 0


@pytest.mark.parametrize("key", ["thumb", "scope", "paths", "extensions"])
def test_compare_refuses_what_the_index_has_settled(run: dupegrid.Run, key: str) -> None:
    with pytest.raises(UsageError, match=f"cannot change '{key}'"):
        dupegrid.compare(run, **{key: 1}, quiet=True)


def test_any_bytes_in_the_name_of_the_run_directory(pictures: Path, tmp_path: Path) -> None:
    out = os.fsdecode(os.fsencode(tmp_path) + b"/run \xff\n")
    run = dupegrid.run(pictures, out=out, quiet=True)
    assert len(run.matches)
    assert dupegrid.status(out).report is True


def test_damaged_tables_are_named_in_one_line(run: dupegrid.Run) -> None:
    for name in ("images.parquet", "clusters.parquet", "matches.parquet/part-identical.parquet"):
        data = (run.path / name).read_bytes()
        (run.path / name).write_bytes(b"junk")
        with pytest.raises(dupegrid.DupegridError) as raised:
            dupegrid.cluster(run) if "clusters" not in name else dupegrid.report(run)
        assert "\n" not in str(raised.value)
        (run.path / name).write_bytes(data)
    (run.path / "run.json").write_text('{"format": 1, "config": {}}')
    with pytest.raises(dupegrid.DupegridError, match=r"run\.json"):
        dupegrid.open_run(run)


def test_a_damaged_mark_is_a_tile_to_do(run: dupegrid.Run, pictures: Path) -> None:
    mark = run.path / "tiles.zarr/c.0.0.0"
    mark.write_bytes(mark.read_bytes()[:-3] + b"xyz")
    again = dupegrid.run(pictures, out=run.path, threshold=5, orientations="none", quiet=True)
    assert again.receipt == run.receipt


def test_no_match_leaves_a_table_with_its_columns(tmp_path: Path) -> None:
    save(tmp_path / "photos/one.jpg", 1)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", quiet=True)
    assert pq.read_table(run.path / "matches.parquet").column_names == run.matches.column_names
    assert len(run.frame("matches")) == 0


def test_show_takes_the_numbers_that_the_tables_hold(run: dupegrid.Run) -> None:
    numbers = run.clusters["cluster"].to_pandas().unique()
    assert run.show(numbers[1]).html.count("<section") == 1
    html = run.show(numbers[[2, 0]]).html
    assert html.index("Cluster 2") < html.index("Cluster 0")


def test_of_nested_roots_the_inner_one_has_the_file(tmp_path: Path) -> None:
    for name in ("photos/a.png", "photos/archive/a.png"):
        save(tmp_path / name, 1)
    run = dupegrid.run(tmp_path / "photos", against=tmp_path / "photos/archive", out=tmp_path / "run", quiet=True)
    assert len(run.matches) == 1
    assert run.summary.already_there == run.summary.pictures_of_path == 1


def test_a_folder_reached_through_a_link_counts_once(tmp_path: Path) -> None:
    save(tmp_path / "photos/a.png", 1)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    run = dupegrid.run(tmp_path / "photos", tmp_path / "link", out=tmp_path / "run", quiet=True)
    assert len(run.images) == 1
    with pytest.raises(InputError, match="both a PATH and --against"):
        dupegrid.run(tmp_path / "photos", against=tmp_path / "link", out=tmp_path / "other", quiet=True)


def test_another_collection_does_not_replace_a_run(run: dupegrid.Run, pictures: Path, tmp_path: Path) -> None:
    save(tmp_path / "other/a.png", 1)
    before = named_matches(run)
    with pytest.raises(RunDirError, match="other paths"):
        dupegrid.run(tmp_path / "other", out=run.path, quiet=True)
    more = dupegrid.run(pictures, tmp_path / "other", out=run.path, threshold=5, orientations="none", quiet=True)
    assert before <= named_matches(more)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_says_how_to_go_on(pictures: Path, tmp_path: Path, number: int, code: int) -> None:
    slow = "import time, dupegrid.images.chunk as k, dupegrid.app.command.cli as c; "
    slow += "k.decode_files = lambda *a: time.sleep(60); c.main()"
    with started(slow, "run", pictures, "--out", tmp_path / "run", err=tmp_path / "said") as process:
        while not (tmp_path / "run/thumbs.zarr/zarr.json").exists():
            assert process.is_alive()
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(process.pid, number)
        process.join(20)
        assert process.exitcode == code
    err = (tmp_path / "said").read_text()
    assert err.splitlines()[-1].startswith("dupegrid: stopped; what was finished is kept")
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["processes", "local"])
def test_processes_say_nothing_when_the_terminal_stops_them(tmp_path: Path, scheduler: str) -> None:
    script = tmp_path / "wait.py"
    script.write_text(
        "import signal, sys, time\n"
        "from dupegrid.core.runtime import runtime\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it\n"
        "def wait(k):\n    open(f'{sys.argv[1]}/{k}', 'w').close(); time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        f"    with runtime({scheduler!r}, 2) as workers:\n"
        "        try:\n            workers.each(wait, [0, 1], print)\n"
        "        except KeyboardInterrupt:\n            sys.exit(130)\n"
    )
    process = subprocess.Popen(
        [sys.executable, script, tmp_path], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (tmp_path / "0").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")


def test_json_is_all_there_is_on_standard_output_even_without_standard_error(pictures: Path, tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m dupegrid run "{pictures}" --out "{tmp_path}/run" --json 2>&-'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("{")
