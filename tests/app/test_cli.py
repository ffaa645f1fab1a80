"""The command: one-line errors, exit codes, JSON, names, and nothing written beside the photos."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import dupegrid
from dupegrid.app.command import cli
from tests.conftest import picture, save, tree_state
from tests.helpers import forks
from tests.helpers.pages import Page, assert_harmless


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Calls the command in this process: arguments -> exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dupegrid", *map(os.fspath, map(str, arguments))])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        monkeypatch.setattr(cli, "_wake_at_signals", lambda: None)
        monkeypatch.setattr(cli, "_leave", sys.exit)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return call


def assert_one_line(result: tuple[int, str, str], what: str) -> None:
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("dupegrid: ")
    assert err.count("\n") == 1
    assert what in err


def stops(work: Callable[[], object]) -> int:
    """The exit code of a command that does this."""

    def in_command() -> None:
        signal.alarm(30)
        cli.app, sys.argv = lambda **_: work(), ["dupegrid", "run"]  # type: ignore[assignment, return-value]
        cli.main()

    return forks.in_fork(in_command, decodes=False)


def test_a_signal_that_comes_just_before_a_wait_ends_it() -> None:
    """It is another thread's here, so that nothing ends the wait of the main one, which would see it after that."""

    def waits() -> None:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        queue.Queue[int]().get()

    assert stops(waits) == 128 + signal.SIGTERM


def test_an_error_of_a_lock_that_a_signal_fell_into_is_not_told() -> None:
    def falls() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise RuntimeError("release unlocked lock")

    assert stops(falls) == 128 + signal.SIGINT


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_bad_input_is_one_line_and_exit_code_2(command, image_tree: Path, tmp_path: Path) -> None:
    before = tree_state(image_tree)
    out = tmp_path / "run"
    unknown_key, no_yaml = tmp_path / "unknown.yaml", tmp_path / "broken.yaml"
    unknown_key.write_text("treshold: 3\n")
    no_yaml.write_text("threshold: [3\n")
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("")
    run = ("run", image_tree, "--out")
    assert_one_line(command("run", tmp_path / "nowhere", "--out", out), "does not exist")
    assert_one_line(command("run", "/dev/null", "--out", out), "neither a file nor a folder")
    assert_one_line(command("run", "--out", out), "no PATH")
    assert_one_line(command(*run, tmp_path / "file"), "--out")
    assert_one_line(command(*run, tmp_path / "file/run"), "cannot")
    assert_one_line(command(*run, "/proc/run"), "cannot write")
    assert_one_line(command(*run, tmp_path / "full"), "is no run directory")
    assert_one_line(command(*run, image_tree / "run"), "nothing is written beside the photos")
    assert_one_line(command(*run, image_tree), "nothing is written beside the photos")
    assert_one_line(command("run", image_tree), "'--out': The run directory: a new folder, or one to go on with. See")
    assert_one_line(command("folders"), "'RUN': A run directory. See 'dupegrid folders --help'")
    assert_one_line(command(image_tree), "dupegrid run PATH --out RUN")
    assert_one_line(command("rn"), "Did you mean 'run'? See")
    assert_one_line(command(*run, out, "--threshold", "-1"), "threshold is -1")
    assert_one_line(command(*run, out, "--threshold", "much"), "--threshold")
    assert_one_line(command(*run, out, "--thumb", "2"), "thumb is 2")
    assert_one_line(command(*run, out, "--orientations", "some"), "orientations is 'some'")
    assert_one_line(command(*run, out, "--scheduler", "pbs"), "scheduler is 'pbs'")
    assert_one_line(command(*run, out, "--scheduler", "tcp://127.0.0.1:1"), "no dask scheduler answers")
    assert_one_line(command(*run, out, "--extensions", ","), "--extensions")
    assert_one_line(command(*run, out, "--config", unknown_key), "unknown setting 'treshold'")
    assert_one_line(command(*run, out, "--config", no_yaml), "is not valid YAML")
    assert_one_line(command(*run, out, "--config", tmp_path / "none.yaml"), "none.yaml")
    assert_one_line(command(*run, ""), "name a folder")
    assert_one_line(command("run", "", "--out", out), "name a folder")
    assert_one_line(command(*run, out, "--against", image_tree), "both a PATH and --against")
    assert_one_line(command(*run, out, "--memory", "much"), "memory is 'much'")
    assert_one_line(command(*run, out, "--max-aspect", "0.5"), "max_aspect is 0.5")
    for text in ("threshold: 2001-99-99", "threshold: !!int x", "[" * 3000, "extensions: []"):
        no_yaml.write_text(text)
        assert_one_line(command(*run, out, "--config", no_yaml), "broken.yaml")
    assert_one_line(command("demo", "--out", tmp_path / "full"), "has other files")
    assert_one_line(command("demo", "--out", tmp_path / "file"), "file")
    assert_one_line(command("compare", tmp_path / "nowhere"), "no run directory")
    for verb in ("compare", "cluster", "report", "status"):
        assert_one_line(command(verb, tmp_path / "full"), "no run directory")
    assert_one_line(command("fly"), "fly")
    assert tree_state(image_tree) == before
    assert (tmp_path / "full").is_dir()
    assert os.listdir(tmp_path / "full") == ["letter.txt"]


@pytest.mark.parametrize("pictures", [0, 1])
def test_an_empty_folder_or_one_picture_is_no_error(command, tmp_path: Path, pictures: int) -> None:
    (tmp_path / "photos").mkdir()
    for k in range(pictures):
        save(tmp_path / f"photos/{k}.jpg", k)
    code, out, _ = command("run", tmp_path / "photos", "--out", tmp_path / "run", "--json")
    assert code == 0
    assert json.loads(out)["images"] == pictures
    run = dupegrid.open_run(tmp_path / "run")
    assert len(run.matches) == len(run.clusters) == 0
    assert run.mse.compute().shape == (pictures, pictures)
    assert (run.path / "report.html").exists()


def test_every_verb_and_its_json(command, image_tree: Path, tmp_path: Path) -> None:
    before = tree_state(image_tree)
    out = tmp_path / "run"
    results = {}
    for verb, arguments in {
        "index": (image_tree, "--out", out),
        "status": (out,),
        "compare": (out, "--cutoff", "500"),
        "cluster": (out, "--threshold", "400"),
        "report": (out,),
        "run": (image_tree, "--out", out),
    }.items():
        code, text, _ = command(verb, *arguments, "--json")
        assert code == 0
        results[verb] = json.loads(text)
        code, text, _ = command(verb, *arguments)
        assert (code, bool(text)) == (0, True)
    assert results["index"]["index"] == {"done": 5, "total": 5, "unit": "images"}
    assert results["status"]["failed"] == {"truncated": 1, "unidentified": 1}
    images = dupegrid.open_run(out).images.to_pylist()
    unknown, read = (next(row["id"] for row in images if row["status"] == status) for status in ("unidentified", "ok"))
    told = command("explain", out, unknown, read)[1]
    assert "verdict     they never match" in told
    assert not re.search("None|joined", told)
    assert results["compare"]["cutoff"] == 500
    assert results["cluster"]["threshold"] == 400
    assert results["run"]["duplicates"] == 1
    assert tree_state(image_tree) == before


def test_flags_win_over_the_file_and_the_file_over_defaults(command, image_tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("threshold: 7\nthumb: 16\n")
    command("run", image_tree, "--out", tmp_path / "run", "--config", file, "--threshold", "9")
    config = dupegrid.open_run(tmp_path / "run").config
    assert (config.threshold, config.cutoff, config.thumb, config.orientations) == (9, 9, 16, "rotations")


NAMES = [
    b"with space.jpg",
    b"new\nline.jpg",
    b"tab\tand\rreturn.jpg",
    b"'single' \"double\".jpg",
    b"<script>alert(1)<script>.jpg",
    b"&amp;&#39;.jpg",
    "emoji \U0001f4f7\u200d\U0001f308.jpg".encode(),
    "\u202egpj.exe right to left.jpg".encode(),
    b"\x1b[31mred\x07.jpg",
    b"not UTF-8 \xff\xfe caf\xe9.jpg",
    b"-rf",
    b"--out",
    b"%41#?.jpg",
    b"=cmd|' C calc'!A0.jpg",
    b"\\xff literal.jpg",
    b"n" * 251 + b".jpg",
]


def test_any_name_passes_through_every_stage(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/photos \xff<b>"
    os.mkdir(root)
    source = tmp_path / "one.jpg"
    picture(1).save(source)
    for name in NAMES:
        with open(os.path.join(root, name), "wb") as file:
            file.write(source.read_bytes())
    with open(os.path.join(root, b"broken\n\x1b[0m\xff.jpg"), "wb") as file:
        file.write(source.read_bytes()[:900])
    done, told = forks.command("run", root, "--out", tmp_path / "run"), forks.command("status", tmp_path / "run")
    assert (done.returncode, told.returncode) == (0, 0)
    for text in (done.stdout, done.stderr, told.stdout):
        assert all(line.isprintable() for line in text.split("\n"))
    assert "broken\\n\\x1b[0m\\xff.jpg" in told.stdout

    run = dupegrid.open_run(tmp_path / "run")
    paths = [os.path.join(root, name) for name in NAMES]
    ok = [row for row in run.images.to_pylist() if row["status"] == "ok"]
    assert sorted(row["path_raw"] for row in ok) == sorted(paths)
    assert len({row["path"] for row in ok}) == len(NAMES)
    assert len(run.clusters) == len(NAMES)
    assert len(run.matches) == len(NAMES) * (len(NAMES) - 1) // 2
    page = Page.of(run.path)
    assert sorted(page.paths) == sorted(paths)
    assert_harmless(page)
    assert "b" not in page.tags


def test_no_cluster_is_started_by_the_default_scheduler(image_tree: Path, tmp_path: Path) -> None:
    watch = (
        "import sys, threading, multiprocessing, dupegrid; "
        f"dupegrid.run({str(image_tree)!r}, out={str(tmp_path / 'run')!r}, quiet=True); "
        "import distributed; "
        "assert not distributed.client._global_clients, 'a client'; "
        "assert not multiprocessing.active_children(), 'processes'"
    )
    with forks.started(watch, err=tmp_path / "said") as process:
        process.join(60)
        assert process.exitcode == 0, (tmp_path / "said").read_text()


def test_plain_lines_on_standard_error_when_it_is_no_terminal(command, image_tree: Path, tmp_path: Path) -> None:
    code, out, err = command("run", image_tree, "--out", tmp_path / "run")
    assert code == 0
    assert [line.split(":")[0] for line in err.splitlines()] == ["index", "sort", "compare"]
    assert "\x1b" not in out + err


def test_too_little_address_space_is_one_line(pictures: Path, tmp_path: Path) -> None:
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_AS, (600_000_000,) * 2); "
    limit += "os.execv(*eval(sys.argv[1]))"
    words = [sys.executable, "-m", "dupegrid", "run", str(pictures), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", limit, repr((sys.executable, words))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "address space is 0.6 GB" in done.stderr


def test_help_fits_a_screen_and_lists_every_verb_in_its_group(command) -> None:
    lines = command("--help")[1].splitlines()
    assert len(lines) <= 45
    assert all(len(line) <= 80 and "..." not in line for line in lines[1:])
    listed = {line.split()[0] for line in lines if line.startswith("  ")}
    assert {verb.__name__ for verbs in cli.VERBS.values() for verb in verbs} <= listed
    assert [line[:-1] for line in lines if line.endswith(":")] == ["Options", *cli.VERBS]
