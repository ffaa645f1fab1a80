"""Where the work is done: threads, processes and workers that start, end and fail without a trace in what is around."""

import asyncio
import json
import multiprocessing
import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client

import dupegrid
from dupegrid.app.command import cli
from dupegrid.app.estimate import _product_rate
from dupegrid.core.blas import one_blas_thread
from dupegrid.core.errors import ConfigError, DamagedError, DupegridError
from dupegrid.core.malloc import TRIM_VARIABLE
from dupegrid.core.runtime import runtime
from dupegrid.core.tasks import Runtime
from dupegrid.storage.places import LOCK
from tests.conftest import save
from tests.helpers.clusters import dask_scheduler, dask_worker
from tests.helpers.forks import executed, in_fork, started
from tests.helpers.tasks import blas_threads, waited_until

DUPEGRID = Path(sys.executable).parent / "dupegrid"


@pytest.fixture
def few(tmp_path: Path) -> Path:
    for seed in (1, 1, 2):
        save(tmp_path / f"few/{len(list(tmp_path.glob('few/*')))}.png", seed)
    return tmp_path / "few"


def computed(workers: Runtime, task: Callable[..., object], items: list[object]) -> list[object]:
    """What a task gives for each item."""
    found: list[object] = []
    workers.each(task, items, found.append)
    return found


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# A process that was forked


def test_run_fork_run(few: Path, tmp_path: Path) -> None:
    dupegrid.run(few, out=tmp_path / "before", thumb=16, quiet=True)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # it hung for ever
        dupegrid.run(few, out=tmp_path / "after", thumb=16, quiet=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert dupegrid.open_run(tmp_path / "after").summary.duplicates == 1


def test_run_in_a_process_that_multiprocessing_forks(few: Path, tmp_path: Path) -> None:
    dupegrid.run(few, out=tmp_path / "before", thumb=16, quiet=True)
    run = {"out": tmp_path / "after", "thumb": 16, "quiet": True}
    process = multiprocessing.get_context("fork").Process(target=dupegrid.run, args=(few,), kwargs=run)
    process.start()
    process.join(60)
    process.kill()
    assert process.exitcode == 0


# Two at once


def test_two_runs_in_two_threads_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for seed in range(30):
            save(tmp_path / name / f"{seed}.png", seed % 29)
    failed: list[BaseException] = []

    def some_runs(name: str) -> None:
        try:
            for number in range(3):
                dupegrid.run(tmp_path / name, out=tmp_path / f"{name}{number}", thumb=16, tile=5, quiet=True)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=some_runs, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for name in ("a0", "a1", "a2", "b0", "b1", "b2"):
        assert dupegrid.open_run(tmp_path / name).summary.duplicates == 1


@pytest.mark.skipif(1 in blas_threads() or not blas_threads(), reason="BLAS has one thread anyway")
def test_blas_has_as_many_threads_as_before_after_two_runs_that_overlap() -> None:
    before = blas_threads()
    first, second = runtime("threads", 1), runtime("sync")
    first.__enter__()
    assert set(blas_threads()) == {1}
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(blas_threads()) == {1}, "the second run is still at it"
    second.__exit__(None, None, None)
    assert blas_threads() == before
    with one_blas_thread():
        _product_rate(1)
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


@pytest.mark.skipif(1 in blas_threads() or not blas_threads(), reason="BLAS has one thread anyway")
def test_blas_has_as_many_threads_as_before_after_two_runs_in_two_threads() -> None:
    before = blas_threads()
    first, second = runtime("sync"), runtime("sync")
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        one.submit(first.__enter__).result()
        other.submit(second.__enter__).result()
        assert set(blas_threads()) == {1}
        one.submit(first.__exit__, None, None, None).result()
        assert set(blas_threads()) == {1}
        other.submit(second.__exit__, None, None, None).result()
        assert blas_threads() == before
        with runtime("sync"):
            assert set(blas_threads()) == {1}
    assert blas_threads() == before


# After an error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_no_thread_is_at_work_once_a_run_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    def task(item: int) -> int:
        is_first = not list(tmp_path.glob("begun*"))
        (tmp_path / f"begun{item}").touch()
        time.sleep(0.1 if is_first else 0.8)
        (tmp_path / f"ended{item}").touch()
        return item

    def stop(_result: object) -> None:
        waited_until(lambda: len(list(tmp_path.glob("begun*"))) >= 2)
        raise error

    with pytest.raises(error), runtime("threads", 2) as workers:
        workers.each(task, range(50), stop)
    begun, ended = len(list(tmp_path.glob("begun*"))), len(list(tmp_path.glob("ended*")))
    assert begun == ended <= 4
    time.sleep(0.5)
    assert len(list(tmp_path.glob("*"))) == begun + ended


def interrupt(_result: object) -> None:
    raise KeyboardInterrupt


def test_an_error_ends_the_pool_of_processes_and_no_other_process() -> None:
    before = multiprocessing.active_children()
    ours = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    ours.start()
    try:
        with pytest.raises(KeyboardInterrupt), runtime("processes", 1) as workers:
            workers.each(abs, [1], interrupt)
        assert set(multiprocessing.active_children()) == {*before, ours}
    finally:
        ours.kill()
        ours.join()


# Processes


def test_processes_of_a_pool_end_soon_after_their_parent_was_killed(tmp_path: Path) -> None:
    script = written(
        tmp_path / "script.py",
        "import os, time\nfrom pathlib import Path\nfrom dupegrid.core.runtime import runtime\n"
        "def task(k):\n    Path(f'pid{os.getpid()}').touch(); time.sleep(300)\n"
        "if __name__ == '__main__':\n    with runtime('processes', 2) as workers:\n"
        "        workers.each(task, [0, 1], print)\n",
    )
    parent = subprocess.Popen([sys.executable, script], cwd=tmp_path)
    waited_until(lambda: len(list(tmp_path.glob("pid*"))) == 2)
    pool = [psutil.Process(int(path.name.removeprefix("pid"))) for path in tmp_path.glob("pid*")]
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(pool, timeout=20)
    for process in alive:
        process.kill()
    assert alive == []


STDLIB = ("random", "pickle", "socket", "struct", "selectors", "tempfile", "signal", "threading", "numpy", "dask", "_x")


@pytest.mark.slow
def test_files_in_the_current_folder_are_not_run(few: Path, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in STDLIB:
        trap = f"open({str(tmp_path / 'TRAPPED')!r}, 'a').write({name!r})\nraise ImportError({name!r})\n"
        (folder / f"{name}.py").write_text(trap)
    text = (  # as the command has it: the folder of the script is in the path, the current one is not
        "import sys\nfrom dupegrid.app.command.cli import main\n"
        "if __name__ == '__main__':\n    for scheduler in ('processes', 'local'):\n"
        f"        out = {str(tmp_path)!r} + '/' + scheduler\n"
        f"        sys.argv[1:] = ['run', {str(few)!r}, '--out', out, '--scheduler', scheduler, '--workers', '1']\n"
        "        try:\n            main()\n        except SystemExit as ended:\n            assert not ended.code\n"
    )
    words = [sys.executable, written(tmp_path / "script.py", text)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert not (tmp_path / "TRAPPED").exists(), (tmp_path / "TRAPPED").read_text()
    assert done.returncode == 0, done.stderr
    assert {path.parent.name for path in tmp_path.glob("*/report.html")} == {"processes", "local"}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["no guard", "standard input"])
def test_a_script_that_would_run_again_in_each_process_is_told_so(few: Path, tmp_path: Path, way: str) -> None:
    text = (
        "import dupegrid\nfor scheduler in ('processes', 'local'):\n    try:\n"
        f"        out = {str(tmp_path)!r} + '/' + scheduler\n"
        f"        dupegrid.run({str(few)!r}, out=out, scheduler=scheduler, workers=1, quiet=True)\n"
        "    except dupegrid.DupegridError as error:\n        print(error)\n"
    )
    if way == "no guard":  # in a fork; what it starts runs the script as it would that of any process
        script = written(tmp_path / "script.py", text)
        done = executed(f"__file__ = {str(script)!r}\n{text}", tmp_path)
    else:
        done = subprocess.run([sys.executable], input=text, capture_output=True, text=True, timeout=900, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for line, scheduler in zip(done.stdout.splitlines(), ("processes", "local"), strict=True):
        assert f"scheduler '{scheduler}' starts processes" in line
        assert 'if __name__ == "__main__":' in line
        assert "'threads'" in line


def test_a_local_cluster_listens_on_loopback_only_and_its_workers_rest_and_keep_their_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TRIM_VARIABLE, "65536")  # as a cluster of the user's leaves it behind
    tick, profile = "distributed.admin.tick.interval", "distributed.worker.profile.interval"
    with dask.config.set({profile: "20ms"}), runtime("local", 1) as workers:  # as the user has set it
        assert computed(workers, os.getenv, [TRIM_VARIABLE]) == [None]
        assert computed(workers, dask.config.get, [tick]) == ["500ms"] != [dask.config.get(tick)]
        assert computed(workers, dask.config.get, [profile]) == ["20ms"]
        assert TRIM_VARIABLE in dask.config.get("distributed.nanny.pre-spawn-environ"), "dask would have them trim it"
        family = [*psutil.Process().children(recursive=True), psutil.Process()]
        sockets = [s for process in family for s in process.net_connections() if s.status == psutil.CONN_LISTEN]
        assert sockets
        assert {s.laddr.ip for s in sockets} == {"127.0.0.1"}
    assert os.environ[TRIM_VARIABLE] == "65536"


# A cluster of the user's


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dask_scheduler(tmp_path_factory.mktemp("scheduler")) as (address, _):
        yield address


LACKS = """
import sys, importlib.metadata as m
sys.modules["dupegrid"] = None
real = m.version
def version(name):
    if name == "dupegrid":
        raise m.PackageNotFoundError(name)
    return real(name)
m.version = version
"""
OTHER_PILLOW = """
import importlib.metadata as m
real = m.version
m.version = lambda name: "9.0" if name == "pillow" else real(name)
"""
OTHER_RECIPE = """
import dupegrid.images.recipe as t
t.RECIPE = 99
"""
NO_PICTURES = """
import os
real = os.stat
def stat(path, *given, **named):
    if isinstance(path, bytes) and path.endswith(b".png"):
        raise FileNotFoundError(2, "hidden")
    return real(path, *given, **named)
os.stat = stat
"""
OTHER_LOCK = """
import builtins, io
real = open
def other(path, *given, **named):
    return io.BytesIO(b"{}") if isinstance(path, bytes) and path.endswith(b"/lock") else real(path, *given, **named)
builtins.open = other
"""


@pytest.mark.parametrize(
    ("preload", "problem"),
    [
        (LACKS, r"lacks dupegrid, and here it is [\d.]+: install"),
        (OTHER_PILLOW, r"has pillow 9\.0, and here it is [\d.]+: install"),
        (OTHER_RECIPE, r"has recipe 99, and here it is \d+: install"),
        (NO_PICTURES, r"does not see \S+/few/0\.png as it is here"),
        (OTHER_LOCK, r"does not see the run directory \S+/run as it is here"),
    ],
    ids=["without dupegrid", "another Pillow", "another recipe", "no pictures", "another run directory"],
)
def test_a_worker_that_differs_is_refused(few: Path, tmp_path: Path, address: str, preload: str, problem: str) -> None:
    whole = rf"the worker at tcp://127\.0\.0\.1:\d+ {problem}"
    with dask_worker(address, tmp_path, preload), pytest.raises(ConfigError, match=whole) as raised:
        dupegrid.run(few, out=tmp_path / "run", scheduler=address, quiet=True)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run/run.json").exists()


def test_a_worker_that_comes_late_and_differs_is_refused(tmp_path: Path, address: str) -> None:
    late = tmp_path / "late"

    def task(item: int) -> int:
        while not late.exists():
            time.sleep(0.05)
        time.sleep(0.2)
        return item

    with ExitStack() as stack:
        stack.enter_context(dask_worker(address, tmp_path))
        workers = stack.enter_context(runtime(address))
        workers.check(tmp_path / LOCK)
        known_before = (
            "import dupegrid.core.sights as s; s.version = m.version; s._version.cache_clear()"  # a fork has it
        )
        preload = f"{OTHER_PILLOW}{known_before}\nopen({str(late)!r}, 'w').close()"
        stack.enter_context(dask_worker(address, tmp_path, preload))
        with pytest.raises(ConfigError, match=r"the worker at tcp://\S+ has pillow 9\.0"):
            computed(workers, task, list(range(500)))


CANNOT_OPEN = """
import pathlib
real = pathlib.Path.open
def hidden(path, *given, **named):
    if path.name == "table":
        raise OSError(5, "hidden")
    return real(path, *given, **named)
pathlib.Path.open = hidden
"""


def test_a_file_that_is_damaged_for_a_worker_alone_is_not_removed_here(tmp_path: Path, address: str) -> None:
    file = written(tmp_path / "table", "whole")

    def task(_item: int) -> None:
        raise DamagedError(file, "torn")

    for preload, error in (("pass", DamagedError), (CANNOT_OPEN, DupegridError)):
        with dask_worker(address, tmp_path, preload), runtime(address) as workers:
            workers.check(tmp_path / LOCK)
            with pytest.raises(DupegridError) as raised:
                computed(workers, task, [0])
        assert type(raised.value) is error
    assert str(raised.value).startswith("the worker at tcp://127.0.0.1:")
    assert f"does not see {file} as it is here (torn)" in str(raised.value)


def elsewhere(*_: object) -> None:
    raise AssertionError("this is for a worker to do")


def test_a_client_that_is_handed_over_does_all_the_work(
    few: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dupegrid.images.chunk.decode_files", elsewhere)
    monkeypatch.setattr("dupegrid.pairs.compare.filter_tile", elsewhere)
    settings = {"scheduler": "tcp://127.0.0.1:1", "thumb": 16, "quiet": True}  # nothing answers there
    with dask_worker(address, tmp_path), Client(address, set_as_default=False) as client:
        run = dupegrid.run(few, out=tmp_path / "run", client=client, **settings)
        assert run.summary.duplicates == 1
        again = dupegrid.compare(run, orientations="all", client=client, quiet=True)
        index = dupegrid.index(few, out=tmp_path / "index", client=client, **settings)
        assert client.submit(abs, -1).result(60) == 1, "it is left open"
    assert len(again.matches) == 1
    assert index.images == run.images
    saved = json.loads((tmp_path / "run/run.json").read_text())
    assert (saved["config"]["scheduler"], "client" in saved["config"]) == ("tcp://127.0.0.1:1", False)


def test_a_worker_of_a_client_that_differs_is_refused(few: Path, tmp_path: Path, address: str) -> None:
    with dask_worker(address, tmp_path, OTHER_PILLOW), Client(address, set_as_default=False) as client:
        with pytest.raises(ConfigError, match=r"the worker at tcp://127\.0\.0\.1:\d+ has pillow 9\.0"):
            dupegrid.run(few, out=tmp_path / "run", client=client, quiet=True)
        assert client.status == "running"
    assert not (tmp_path / "run/run.json").exists()


def test_a_client_that_cannot_be_used_is_refused(few: Path, tmp_path: Path, address: str) -> None:
    def refused(client: object) -> None:
        with pytest.raises(ConfigError, match=r"^client is .*: give a dask\.distributed Client"):
            dupegrid.run(few, out=tmp_path / "run", client=client, quiet=True)
        assert not (tmp_path / "run/run.json").exists()

    async def asynchronous() -> None:
        async with Client(address, asynchronous=True, set_as_default=False) as client:
            refused(client)

    with Client(address, set_as_default=False) as closed:
        pass
    refused(closed)
    refused(address)
    asyncio.run(asynchronous())


SLOW = "import time, dupegrid.images.chunk as k\nk.decode_files = lambda *given: time.sleep(60)"


@contextmanager
def run_at_work(few: Path, tmp_path: Path) -> Iterator[tuple[BaseProcess, BaseProcess]]:
    """A command whose tasks are at work on a cluster, and the scheduler of that."""
    with dask_scheduler(tmp_path) as (address, scheduler), dask_worker(address, tmp_path, SLOW):
        words = ["run", few, "--out", tmp_path / "run", "--scheduler", address]
        with started("from dupegrid.app.command.cli import main; main()", *words, err=tmp_path / "said") as command:
            waited_until((tmp_path / "run/thumbs.zarr/zarr.json").exists)
            time.sleep(0.5)
            yield command, scheduler


def told(tmp_path: Path) -> list[str]:
    """The lines that the command wrote, but for that of the listing, which only one that takes long has."""
    return [line for line in (tmp_path / "said").read_text().splitlines() if not line.startswith("list: ")]


def test_a_lost_scheduler_is_one_line(few: Path, tmp_path: Path) -> None:
    with run_at_work(few, tmp_path) as (command, scheduler):
        scheduler.kill()
        command.join(60)
        assert command.exitcode == 1
    assert [line.split(" (")[0] for line in told(tmp_path)] == ["dupegrid: the cluster was lost"]


def test_a_signal_keeps_its_exit_code_though_the_scheduler_does_not_answer(few: Path, tmp_path: Path) -> None:
    with run_at_work(few, tmp_path) as (command, scheduler):
        os.kill(scheduler.pid, signal.SIGSTOP)
        command.terminate()
        command.join(60)
        assert command.exitcode == 143
    assert [line.split(";")[0] for line in told(tmp_path)] == ["dupegrid: stopped"]


# What cannot be written


def arguments(few: Path, run_dir: Path) -> list[str]:
    return ["run", str(few), "--out", str(run_dir), "--thumb", "16", "--workers", "1"]


def run_with(few: Path, run_dir: Path, redirection: str) -> tuple[int, str]:
    """The exit code of a run and what it says, as a process of its own: how Python starts and ends is part of it."""
    line = shlex.join([str(DUPEGRID), *arguments(few, run_dir)])
    done = subprocess.run(["bash", "-c", f"{line} {redirection}"], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def run_into(few: Path, run_dir: Path, out: int, err: int, other: int | None = None) -> int:
    """The exit code of a run, a fork, that writes to these descriptors and does not have the other one."""

    def work() -> None:
        if other is not None:
            os.close(other)
        sys.stdout, sys.stderr = os.fdopen(out, "w"), os.fdopen(err, "w", 1)
        sys.argv[1:] = arguments(few, run_dir)
        signal.alarm(120)
        try:
            cli.main()
        except SystemExit as ended:
            sys.stdout.flush()  # as Python does when it ends, with 120 where that fails
            sys.stderr.flush()
            os._exit(int(ended.code or 0))
        finally:
            os._exit(120)

    return in_fork(work)


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def unread() -> int:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def hung_up() -> int:
    """A terminal that is gone."""
    ours, theirs = pty.openpty()
    os.close(ours)
    return theirs


@pytest.mark.parametrize("err", [full, unread, hung_up])
def test_a_run_goes_on_when_nobody_hears_how_far_it_is(few: Path, tmp_path: Path, err: Callable[[], int]) -> None:
    said = tmp_path / "said"
    with os.fdopen(err(), "w") as deaf, said.open("w") as out:
        assert run_into(few, tmp_path / "run", out.fileno(), deaf.fileno()) == 0
    assert "duplicates  1 in 1 cluster" in said.read_text()
    assert (tmp_path / "run/report.html").exists()


def test_a_run_goes_on_without_a_standard_error(few: Path, tmp_path: Path) -> None:
    assert run_with(few, tmp_path / "run", "2>&-") == (0, "")
    assert (tmp_path / "run/report.html").exists()


def into_full_disk(few: Path, folder: Path) -> tuple[int, str]:
    """Of which Python itself would say more when it ends."""
    return run_with(few, folder / "run", ">/dev/full")


def into_unread_pipe(few: Path, folder: Path) -> tuple[int, str]:
    with os.fdopen(unread(), "w") as out, (folder / "said").open("w") as err:
        code = run_into(few, folder / "run", out.fileno(), err.fileno())
    return code, (folder / "said").read_text()


@pytest.mark.parametrize("result_of_run", [into_full_disk, into_unread_pipe])
def test_a_result_that_cannot_be_written_is_exit_code_1(
    few: Path, tmp_path: Path, result_of_run: Callable[[Path, Path], tuple[int, str]]
) -> None:
    code, said = result_of_run(few, tmp_path)
    assert code == 1
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert said.splitlines()[-1].startswith("dupegrid: cannot write the result to standard output")
    assert (tmp_path / "run/report.html").exists()


def test_a_reader_that_leaves_after_a_line_is_exit_code_1(few: Path, tmp_path: Path) -> None:
    """Of both streams, as `2>&1 | head -1` does."""
    lines: list[str] = []
    reader, writer = os.pipe()

    def head() -> None:
        with os.fdopen(reader) as file:
            lines.append(file.readline())

    thread = threading.Thread(target=head)
    thread.start()
    code = run_into(few, tmp_path / "run", writer, writer, other=reader)
    os.close(writer)
    thread.join()
    assert code == 1
    assert "Traceback" not in lines[0]
    assert "Exception ignored" not in lines[0]
    assert (tmp_path / "run/report.html").exists()
