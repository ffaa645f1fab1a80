"""A run directory of somebody else: what it names is imported or connected to only if the caller names it too."""

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dupegrid
from dupegrid.core.errors import ConfigError, StoreError, UsageError
from dupegrid.storage.files import DIGEST, write_json
from tests.conftest import save
from tests.helpers.forks import command

EVIL = "evil_gift:measure"


@pytest.fixture
def run(tmp_path: Path) -> dupegrid.Run:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        save(tmp_path / f"photos/{name}.png", seed)
    return dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=16, cutoff=100, quiet=True)


@pytest.fixture
def owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that the evil module leaves when it is imported; the module is in the current folder and in the path."""
    folder, owned = tmp_path / "downloads", tmp_path / "OWNED"
    folder.mkdir()
    text = f"open({str(owned)!r}, 'w').close()\ndef measure(x, y):\n    return (x[:, None] != y[None]).mean(axis=2)\n"
    for name in ("evil_gift", "sub/evil_gift"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    yield owned
    sys.modules.pop("evil_gift", None)


@pytest.fixture
def listening() -> Iterator[Callable[[], bool]]:
    """An address that waits to be connected to: call it for whether that happened."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)

        def connected() -> bool:
            try:
                server.accept()[0].close()
            except TimeoutError:
                return False
            return True

        connected.address = f"tcp://127.0.0.1:{server.getsockname()[1]}"  # type: ignore[attr-defined]
        yield connected


def forge(run: dupegrid.Run, **config: Any) -> None:
    """Change settings in run.json, with the digest that belongs to them."""
    saved = json.loads((run.path / "run.json").read_text())
    del saved[DIGEST]
    saved["config"] |= config
    write_json(run.path / "run.json", saved)


def assert_readable(run: dupegrid.Run) -> None:
    """All that only reads works."""
    assert dupegrid.status(run).run == str(run.path)
    opened = dupegrid.open_run(run)
    assert len(opened.images) == 3
    assert opened.explain(0, 1).same_file
    assert command("status", run.path).returncode == 0
    assert command("explain", run.path, 0, 1).returncode == 0


def assert_told_of_other_settings(run: dupegrid.Run) -> None:
    """The matches that are there are not those of run.json; all that only reads says so, in one line."""
    assert dupegrid.status(run).compare.done == 0
    opened = dupegrid.open_run(run)
    for read in (lambda: opened.matches, lambda: opened.explain(0, 1), lambda: dupegrid.report(run)):
        with pytest.raises(StoreError, match="other settings"):
            read()
    for words in (["explain", run.path, 0, 1], ["report", run.path], ["cluster", run.path]):
        done = command(*words)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr


def assert_refused(words: list[object], *said: str) -> None:
    done = command(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in said), done.stderr


@pytest.mark.parametrize("metric", [EVIL, "sub.evil_gift:measure", "evil_gift"])
def test_a_metric_that_a_run_directory_names_is_not_imported(run: dupegrid.Run, owned: Path, metric: str) -> None:
    """S4."""
    forge(run, metric=metric)
    assert_refused(["compare", run.path], "--metric", metric)
    with pytest.raises(UsageError, match=f"give --metric {metric} again"):
        dupegrid.compare(run, quiet=True)
    with pytest.raises(UsageError, match="cannot change 'metric'"):
        dupegrid.compare(run, metric="mse", quiet=True)
    assert_refused(["compare", run.path, "--metric", "other:thing"], "cannot change 'metric'", "run again instead")
    assert_told_of_other_settings(run)
    assert not owned.exists()


def test_the_verbs_that_read_take_a_metric_as_it_is_recorded(run: dupegrid.Run, tmp_path: Path, owned: Path) -> None:
    """S4, W7: of a run made with a metric of one's own, whose module need not be there any more."""
    settings = {"metric": EVIL, "threshold": 0.5, "cutoff": 1, "thumb": 16, "quiet": True}
    own = dupegrid.run(tmp_path / "photos", out=tmp_path / "own", **settings)
    assert owned.exists()
    owned.unlink()
    sys.modules.pop("evil_gift")
    assert_readable(own)
    assert dupegrid.status(own).compare.done == 1
    assert len(dupegrid.open_run(own).matches) == 3
    assert len(dupegrid.open_run(own).at(1).clusters) == 3
    for words in (["cluster", own.path, "--threshold", "0.2"], ["report", own.path]):
        assert command(*words).returncode == 0
    assert dupegrid.open_run(own).summary.duplicates == 1
    dupegrid.cluster(own, 0.3)
    dupegrid.report(own)
    assert not owned.exists()
    assert command("compare", own.path, "--metric", EVIL).returncode == 0
    assert owned.exists()


def test_compare_imports_the_metric_that_is_given(run: dupegrid.Run, tmp_path: Path, owned: Path) -> None:
    indexed = dupegrid.index(tmp_path / "photos", out=tmp_path / "new", metric=EVIL, threshold=0.1, quiet=True)
    with pytest.raises(UsageError, match="give --metric"):
        dupegrid.compare(indexed, quiet=True)
    assert len(dupegrid.compare(indexed, metric=EVIL, quiet=True).matches) == 1
    assert len(dupegrid.compare(run, metric="mse", quiet=True).matches) == 1


def test_a_scheduler_that_a_run_directory_names_is_not_connected_to(
    run: dupegrid.Run, listening: Callable[[], bool]
) -> None:
    """S4: what answers there could have any code run here."""
    address = listening.address
    forge(run, scheduler=address)
    again = f"give --scheduler {address} again, or --scheduler threads"
    assert_refused(["compare", run.path], again)
    with pytest.raises(UsageError, match=again):
        dupegrid.compare(run, threshold=20, quiet=True)
    assert_readable(run)
    dupegrid.cluster(run, 20)
    dupegrid.report(run)
    for words in (["cluster", run.path], ["report", run.path]):
        assert command(*words).returncode == 0
    assert not listening()
    dupegrid.compare(run, scheduler="threads", quiet=True)
    assert dupegrid.open_run(run).config.scheduler == "threads"
    assert not listening()


def test_a_run_that_goes_on_without_its_paths_takes_no_code_and_no_address(
    run: dupegrid.Run, owned: Path, listening: Callable[[], bool]
) -> None:
    """S4: what `run --out RUN` takes from RUN are folders and numbers."""
    address = listening.address
    forged = [{"metric": EVIL}, {"hash": EVIL}, {"hash": EVIL, "same_hash": "only"}, {"scheduler": address}]
    forged += [{"paths": [f"http://{address.partition('//')[2]}/photos"]}, {"against": ["s3://photos"]}]
    for change in forged:
        forge(run, **change)
        assert_refused(["run", "--out", run.path], "again")
        forge(run, **{name: getattr(run.config, name) for name in change})
    assert not owned.exists()
    assert not listening()
    assert command("run", "--out", run.path).returncode == 0


@pytest.mark.usefixtures("impatient")
def test_a_scheduler_that_is_given_again_is_asked(run: dupegrid.Run) -> None:
    forge(run, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(ConfigError, match="no dask scheduler answers"):
        dupegrid.compare(run, scheduler="tcp://127.0.0.1:1", quiet=True)


@pytest.mark.usefixtures("workers_forked")
@pytest.mark.parametrize("scheduler", ["sync", "processes"])
def test_a_scheduler_here_is_taken_from_the_run(run: dupegrid.Run, scheduler: str) -> None:
    forge(run, scheduler=scheduler)
    dupegrid.compare(run, threshold=20, quiet=True)
    assert dupegrid.open_run(run).config.scheduler == scheduler


def test_run_takes_all_from_its_own_flags(
    run: dupegrid.Run, tmp_path: Path, owned: Path, listening: Callable[[], bool]
) -> None:
    """S4."""
    forge(run, scheduler=listening.address, metric=EVIL)
    again = dupegrid.run(tmp_path / "photos", out=run, thumb=16, cutoff=100, quiet=True)
    assert (again.config.scheduler, again.config.metric) == (None, "mse")  # no word: threads
    forge(run, scheduler=listening.address, metric=EVIL)
    assert command("run", tmp_path / "photos", "--out", run.path, "--thumb", 16).returncode == 0
    assert not owned.exists()
    assert not listening()


@pytest.mark.parametrize("code", ["", 7, None, {"a": [1]}])
def test_a_recorded_metric_code_of_any_kind_is_no_traceback(run: dupegrid.Run, owned: Path, code: object) -> None:
    saved = json.loads((run.path / "run.json").read_text())
    del saved[DIGEST]
    write_json(run.path / "run.json", {**saved, "metric_code": code})
    if code != "":
        assert_told_of_other_settings(run)
    dupegrid.compare(run, quiet=True)
    assert len(dupegrid.open_run(run).matches) == 1
