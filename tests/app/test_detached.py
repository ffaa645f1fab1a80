"""A run in the background: started, watched from elsewhere, stopped; what it may not be called with is said at once."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dupegrid.core.errors import RunDirError
from dupegrid.storage.lock import holder
from dupegrid.storage.ours import leftovers
from tests.conftest import save
from tests.helpers.forks import command
from tests.helpers.tasks import waited_until

SLOW = """
import time
from pathlib import Path
import numpy as np

def measure(x, y):
    while not Path("go").exists():
        time.sleep(0.05)
    return np.array([np.abs(row.astype(int) - y.astype(int)).max(axis=1) for row in x]).reshape(len(x), len(y))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures, and a metric that waits for a file."""
    for k in range(6):
        save(tmp_path / f"photos/{k}.png", k // 2)
    (tmp_path / "slow.py").write_text(SLOW)
    return tmp_path


def begun(folder: Path, *more: str) -> dict[str, Any]:
    words = ("run", "photos", "--out", "run", "--metric", "slow:measure", "--thumb", 8, *more, "--detach", "--json")
    found = command(*words, cwd=folder)
    assert (found.returncode, found.stderr) == (0, "")
    told: dict[str, Any] = json.loads(found.stdout)
    assert os.getsid(told["pid"]) == told["pid"], "a closed terminal does not end it"
    return told


@pytest.mark.slow
def test_a_run_in_the_background_is_watched_until_it_ends(folder: Path) -> None:
    told = begun(folder)
    words = [sys.executable, "-m", "dupegrid", "status", "run", "--watch", "--json"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        event = json.loads(watcher.stdout.readline())
        while event["stage"] != "compare":
            event = json.loads(watcher.stdout.readline())
        assert event == {"stage": "compare", "done": 0, "total": 15, "unit": "pairs"}
        (folder / "go").touch()
        *events, last = map(json.loads, watcher.stdout.read().splitlines())
    assert watcher.returncode == 0
    assert all(event["stage"] == "compare" for event in events)
    assert last["report"] is True
    assert holder(folder / "run") is None
    log = Path(told["log"]).read_text()
    assert log.startswith("dupegrid 0")
    assert "duplicates" in log
    assert not (folder / "run/progress.json").exists()
    assert command("run", "photos", "--out", "run", "--thumb", 8, cwd=folder).returncode == 0, "run.log is in its way"


@pytest.mark.slow
def test_a_run_in_the_background_ends_at_sigterm(folder: Path) -> None:
    told = begun(folder)
    waited_until(lambda: (folder / "run/tiles.zarr").exists())
    os.kill(told["pid"], signal.SIGTERM)
    waited_until(lambda: (folder / "run/lock").read_bytes() == b"")
    waited_until(lambda: "stopped; what was finished is kept" in Path(told["log"]).read_text())
    (folder / "go").touch()
    ended = command("run", "photos", "--out", "run", "--metric", "slow:measure", "--thumb", 8, cwd=folder)
    assert ended.returncode == 0
    assert "all 6 images done earlier" in ended.stderr


def test_what_is_wrong_with_a_call_is_said_before_it_goes_into_the_background(folder: Path) -> None:
    for words, said in (
        (("--out", "run", "--threshold", "-3"), "threshold is -3.0"),
        (("--out", "photos/run"), "lies inside"),
        (("--out", "s3://bucket/run"), "a bucket has none"),
    ):
        ended = command("run", "photos", *words, "--detach", cwd=folder)
        (line,) = ended.stderr.splitlines()
        assert ended.returncode == 2
        assert said in line
    assert not (folder / "run").exists()


def test_a_log_that_is_not_ours_is_left_alone(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "mine").write_text("mine")
    for make in (lambda log: log.write_text("mine"), lambda log: log.symlink_to(folder / "mine")):
        make(folder / "run/run.log")
        ended = command("run", "photos", "--out", "run", "--detach", cwd=folder)
        assert ended.returncode == 2
        assert "run.log is no file of dupegrid's" in ended.stderr
        with pytest.raises(RunDirError, match=r"run\.log"):
            leftovers(folder / "run")
        (folder / "run/run.log").unlink()
    assert (folder / "mine").read_text() == "mine"


def test_a_log_that_cannot_be_written_is_said_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, real = folder / "run/run.log", os.open

    def opened(path: Any, *more: Any, **others: Any) -> int:
        if os.fspath(path) == os.fspath(log) and more[0] & os.O_WRONLY:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *more, **others)

    log.parent.mkdir()
    monkeypatch.setattr(os, "open", opened)
    words = ("run", "photos", "--out", "run", "--detach")
    assert f"cannot write to {folder}/run: Permission denied; choose" in command(*words, cwd=folder).stderr
    log.write_text("dupegrid 0 run, begun in spring\n")
    assert f"cannot write to {log}: Permission denied; choose" in command(*words, cwd=folder).stderr


def test_watching_what_nobody_is_at_is_its_status(folder: Path) -> None:
    assert command("status", "run", "--watch", cwd=folder).returncode == 2
    assert command("run", "photos", "--out", "run", cwd=folder).returncode == 0
    watched, told = (command("status", "run", *more, cwd=folder).stdout for more in (["--watch"], []))
    assert watched == told
