"""What is loaded, and what is not, when a command starts."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dupegrid.__main__ import main
from tests.conftest import save

COMMAND = """
import sys
from dupegrid.app.command.cli import main
others = sys.argv.pop(1).split()
try:
    main()
finally:
    print(*sorted({"pandas", "distributed", *others} & set(sys.modules)))
"""
DATAFRAMES = """
from dupegrid.core.hidden_imports import without_pandas
without_pandas()
import pyarrow
assert pyarrow.table({"a": [1, 2]}).to_pandas()["a"].tolist() == [1, 2]
import pandas
assert pyarrow.array(pandas.Series([1, None])).to_pylist() == [1, None]
"""


def loaded(others: str, *words: object) -> str:
    """Which of pandas, distributed and `others` the command loads."""
    command = [sys.executable, "-c", COMMAND, others, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


def test_a_command_loads_no_library_that_it_does_without(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    save(tmp_path / "photos/a.png", 1)
    assert loaded("", "run", tmp_path / "photos", "--out", tmp_path / "run") == ""
    assert loaded("dask jinja2 rich", "status", tmp_path / "run") == ""
    assert loaded("dask jinja2 numpy pyarrow zarr PIL typer", "run", "--help") == "typer"


def test_dataframes_are_there_for_who_asks_for_them() -> None:
    pytest.importorskip("pandas")
    subprocess.run([sys.executable, "-c", DATAFRAMES], check=True)


def test_a_key_pressed_while_the_command_loads_ends_it_without_a_word() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "dupegrid", "--version"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.endswith("dupegrid.core.errors\n"))  # more is to come
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == -signal.SIGINT


def test_a_key_that_whoever_started_the_command_ignores_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell does for what a script of it starts in the background."""
    monkeypatch.setattr("dupegrid.app.command.cli.main", lambda: None)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        main()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
