"""The lock of a run that is over is taken over, wherever it was; that of one that is at it is not."""

import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from dupegrid.core.errors import DupegridError, RunDirError, SupersededError
from dupegrid.storage import hold as hold_module
from dupegrid.storage import lock as lock_module
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.files import write_bytes
from dupegrid.storage.hold import check_hold
from dupegrid.storage.lock import locked
from dupegrid.storage.lock_file import touched_s
from tests.helpers.bucket import a_bucket
from tests.helpers.tasks import waited_until


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    """On a disk: what file systems do is the point of these tests."""
    return disk_path


@pytest.fixture(params=["disk", "disk without locks", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run directory that nobody has."""
    if request.param == "bucket":
        with a_bucket() as bucket:
            yield bucket / "run"
        return
    if request.param == "disk without locks":

        def flock(_descriptor: int, how: int) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(fcntl, "flock", flock)
        monkeypatch.setattr(lock_module, "_SETTLES_S", 0.05)
    (tmp_path / "run").mkdir()
    yield tmp_path / "run"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything takes less long; a bucket's clock shows whole seconds."""
    monkeypatch.setattr(lock_module, "_TOUCHED_EVERY_S", 0.1)
    monkeypatch.setattr(lock_module, "_OVER_AFTER_S", 2.5)
    monkeypatch.setattr(lock_module, "_LOOKS_EVERY_S", 0.1)


def entry(**others: object) -> bytes:
    """The lock of a run on another host."""
    return json.dumps({"host": "node0123", "pid": 1, "since": "2026-01-01", "token": "t"} | others).encode()


def test_a_lock_of_another_host_that_nobody_touched_for_long_is_taken_over(tmp_path: Path) -> None:
    lock, said = tmp_path / "lock", []
    lock.write_bytes(entry())
    os.utime(lock, (time.time() - 121, time.time() - 121))
    start = time.monotonic()
    with locked(tmp_path, said.append):
        held = json.loads(lock.read_bytes())
        assert (held["host"], held["pid"]) == (socket.gethostname(), os.getpid())
    assert time.monotonic() - start < 60, "it waits for nothing"
    (line,) = said
    assert "in use by process 1 on node0123 since 2026-01-01" in line
    assert line.endswith("taken over")
    assert lock.read_bytes() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("left", [entry()[:4], entry()[:30], entry()[:30].ljust(512, b"\0"), bytes(512)])
def test_a_half_written_lock_is_taken_over_when_it_is_old_and_nobody_has_it(tmp_path: Path, left: bytes) -> None:
    lock, said = tmp_path / "lock", []
    lock.write_bytes(left)
    with lock.open("rb") as file:
        os.utime(lock, (1, 1))
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunDirError, match="is in use by another process"), locked(tmp_path):
            pass
    assert lock.read_bytes() == left
    with locked(tmp_path, said.append):
        assert json.loads(lock.read_bytes())["pid"] == os.getpid()
    assert [line.endswith("taken over") for line in said] == [True]


def test_a_half_written_lock_that_was_just_touched_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    lock.write_bytes(entry()[:30])
    monkeypatch.setattr(lock_module, "_LOOKS_EVERY_S", 0.05)
    threading.Timer(0.2, os.utime, [lock]).start()
    with pytest.raises(RunDirError, match="is in use by another process"), locked(tmp_path):
        pass


@pytest.mark.parametrize(
    "theirs", [b"notes", b'{"host": "a", "mine": 1}', b"\x7fELF", b'{"host": "'.ljust(513, b"x"), bytes(513)]
)
def test_what_is_no_lock_of_ours_is_left_alone_and_named(tmp_path: Path, theirs: bytes) -> None:
    lock = tmp_path / "lock"
    lock.write_bytes(theirs)
    os.utime(lock, (1, 1))
    with pytest.raises(RunDirError, match=f"{lock} is no file of dupegrid's: move it away"), locked(tmp_path):
        pass
    assert lock.read_bytes() == theirs


@pytest.mark.parametrize("skew_s", [-86_400, 86_400])
def test_the_clock_of_this_host_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew_s: int) -> None:
    """Both say by the clock of the file system when the lock was touched, however wrong their own are."""
    lock, real = tmp_path / "lock", time.time
    lock.write_bytes(entry())
    monkeypatch.setattr(time, "time", lambda: real() + skew_s)
    monkeypatch.setattr(lock_module, "_LOOKS_EVERY_S", 0.05)
    threading.Timer(0.3, os.utime, [lock]).start()
    with pytest.raises(RunDirError, match="in use by process 1 on node0123"), locked(tmp_path):
        pass


@pytest.mark.usefixtures("quick")
def test_a_sign_of_another_host_is_waited_for(place: Path) -> None:
    """There is one: it is in use. There is none: it is taken over. The other ends: there is no more to wait for."""
    lock, said = place / "lock", []
    lock.write_bytes(entry())
    with locked(place, said.append):
        pass
    assert [line.split(": ")[-1] for line in said] == [
        "waiting whether there is a sign of it, for 2 minutes at most",
        "taken over",
    ]
    lock.write_bytes(entry(since="earlier"))
    # On a disk it is touched: written again it would be empty for a moment, and so free.
    sign = (
        partial(lock.write_bytes, entry(since="earlier")) if isinstance(lock, BucketPath) else partial(os.utime, lock)
    )
    threading.Timer(1.2, sign).start()
    with pytest.raises(RunDirError, match=r"on node0123 since earlier: wait for it to end, or stop it"), locked(place):
        pass
    lock.write_bytes(entry(since="earlier"))
    threading.Timer(1.2, lock.write_bytes, [b""]).start()
    with locked(place):
        pass
    if isinstance(lock, BucketPath):
        lock.write_bytes(entry(since="earlier"))
        threading.Timer(1.2, lock.unlink).start()
        with locked(place):
            pass


@pytest.mark.usefixtures("quick")
def test_the_holder_touches_its_lock(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So from another host it is never taken over, however long the run is."""
    with locked(place) as hold, monkeypatch.context() as elsewhere:
        assert hold.token.encode() in (place / "lock").read_bytes()
        elsewhere.setattr(socket, "gethostname", lambda: "another")
        for _ in range(2):
            with pytest.raises(RunDirError, match="in use by process"), locked(place):
                pass


def test_whoever_watches_a_run_of_another_host_sees_its_end(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A touch is a sign that it is at it, whatever the clocks say; of a run that died there comes none."""
    now, lock = 0.0, place / "lock"
    monkeypatch.setattr(lock_module.time, "monotonic", lambda: now)
    lock.write_bytes(entry())
    if not isinstance(lock, BucketPath):
        os.utime(lock, (1, 1))
    stamps = iter([1, 1, 2, 2, 2, 2, 2])
    monkeypatch.setattr(lock_module, "touched_s", lambda _: next(stamps))
    seen = []
    for _ in lock_module.while_held(place):
        seen.append(now)
        now += 100 if len(seen) < 3 else 50
    assert seen == [0, 100, 200, 250, 300]


@pytest.mark.usefixtures("quick")
def test_a_touch_changes_what_a_watcher_sees(place: Path) -> None:
    assert touched_s(place / "lock") is None
    with locked(place):
        before = touched_s(place / "lock")
        assert before is not None
        waited_until(lambda: touched_s(place / "lock") != before)


@pytest.mark.usefixtures("quick")
def test_whoever_wakes_up_after_it_was_taken_over_writes_nothing(place: Path) -> None:
    with suppress(SupersededError), locked(place):
        (place / "lock").write_bytes(entry(host="another", token="other"))
        time.sleep(0.3)  # it does not touch what is another's
        with pytest.raises(SupersededError, match="another run has"):
            check_hold()
    assert json.loads((place / "lock").read_bytes())["host"] == "another", "and does not let go of it"


def test_of_many_that_begin_at_once_without_locks_one_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    begin, stop, got, refused = threading.Barrier(8), threading.Event(), [], []

    def contend() -> None:
        begin.wait()
        try:
            with locked(tmp_path / "run"):
                got.append(1)
                stop.wait(60)
        except RunDirError:
            refused.append(1)

    contenders = [threading.Thread(target=contend) for _ in range(8)]
    for contender in contenders:
        contender.start()
    waited_until(lambda: len(got) + len(refused) == 8)
    stop.set()
    for contender in contenders:
        contender.join()
    assert len(got) == 1


@pytest.mark.parametrize("fails", ["takes_conditions", "sleep"])
def test_a_lock_that_could_not_be_looked_at_once_it_was_written_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """The bucket that is asked whether it is ours does not answer; or somebody gives up while it settles."""

    def fail(*_: object) -> None:
        raise DupegridError("cannot use the bucket") if fails == "takes_conditions" else KeyboardInterrupt

    run: Path = BucketPath("memory:", uuid.uuid4().hex, "run")
    with monkeypatch.context() as failing:
        failing.setattr(BucketPath, "takes_conditions", fail if fails == "takes_conditions" else lambda _: False)
        failing.setattr(lock_module.time, "sleep", fail)
        with pytest.raises((DupegridError, KeyboardInterrupt)), locked(run):
            pass
    assert (run / "lock").read_bytes() == b""


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_disk_that_takes_no_more_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    """Where the lock itself finds no room, and where what is written by its holder does."""

    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as disk:
        disk.setattr(os, call, full)
        said = rf"^cannot write to \S+run: {os.strerror(code)}; .*$"
        with pytest.raises(DupegridError, match=said), locked(tmp_path / "run"):
            write_bytes(tmp_path / "run" / "run.json", b"{}")
    with locked(tmp_path / "run"):
        assert os.listdir(tmp_path / "run") == ["lock"]


def test_a_disk_that_fails_says_what_it_failed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By no name: it may have been a read. And the folder is there still."""

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    run = tmp_path / "run"
    with monkeypatch.context() as disk:
        disk.setattr(os, "scandir", fails)
        with pytest.raises(DupegridError, match=f"^cannot read or write {run}: Input/output error; "), locked(run):
            pass
    with locked(run), monkeypatch.context() as disk:
        disk.setattr(hold_module, "opened", fails)
        with pytest.raises(SupersededError, match=f"^cannot read {run}/lock: Input/output error; "):
            check_hold()


def test_a_lock_that_was_touched_in_the_future_is_not_waited_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lock").write_bytes(entry())
    os.utime(tmp_path / "lock", (time.time() + 300, time.time() + 300))
    now_s = 0.0

    def sleep(duration_s: float) -> None:
        nonlocal now_s
        now_s += duration_s

    clock = SimpleNamespace(monotonic=lambda: now_s, sleep=sleep, strftime=time.strftime)
    monkeypatch.setattr(lock_module, "time", clock)
    with locked(tmp_path):
        assert now_s == lock_module._OVER_AFTER_S
