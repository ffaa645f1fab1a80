"""A decoder that hangs, dies, eats memory or talks costs one file, and one row says why."""

import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

import dupegrid
from dupegrid.core.malloc import TRIM_VARIABLE
from dupegrid.images import sandbox
from dupegrid.images.decoder import File
from dupegrid.images.recipe import Decoded, Reading
from dupegrid.images.sandbox import decode_files
from tests.conftest import picture, save
from tests.helpers.forks import FORKING, started

READING = Reading(32)

# A decoder for the tests: what a file that ends in "MISBEHAVE <how>" does to the process that decodes it.
MISBEHAVING = """
import os, resource, signal, time
from dupegrid.images import recipe

decode = recipe.decode

def misbehave(data, reading):
    if b"MISBEHAVE" in data:
        how = data.split()[-1]
        if how.startswith(b"slow="):
            open(how[5:], "w").close()
            time.sleep(1)
            return decode(b"", reading)
        if how == b"deaf":
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.signal(signal.SIGPROF, signal.SIG_IGN)
        if how == b"stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if how in (b"hang", b"deaf"):
            while True:
                pass
        if how == b"sleep":
            signal.pause()
        if how == b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == b"exit":
            os._exit(3)
        if how == b"talk":
            os.write(2, b"warning: something is odd\\n" * 1000)
            os.write(1, b"and this is no answer\\n" * 1000)
        if how == b"eat":
            resource.setrlimit(resource.RLIMIT_AS, (1 << 29, -1))
            bytearray(1 << 34)
    return decode(data, reading)

recipe.decode = misbehave
"""


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes whose decoder does what a file says, and none left from other tests; forks of this one."""
    monkeypatch.setattr(sandbox, "_idle", [])
    monkeypatch.setattr(sandbox, "subprocess", FORKING)
    monkeypatch.setattr(sandbox, "_START", sandbox._START.replace("serve()\n", MISBEHAVING + "\nserve()\n", 1))
    yield
    sandbox._close_idle()


def files(folder: Path, *contents: bytes | int) -> list[File]:
    """Files of these bytes, or pictures of these seeds, as discover would list them."""
    found = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.png"
        if isinstance(content, int):
            save(path, content)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        status = path.stat()
        found.append(File(os.fsencode(path), status.st_size, status.st_mtime_ns))
    return found


def apart(folder: Path, contents: list[bytes | int], timeout_s: float, first: str = "", last: str = "") -> list[str]:
    """What becomes of files in a program of its own, which is ended if it hangs; what it says goes to the folder."""
    script = f"""
import os, resource, signal, subprocess, sys
from dupegrid.images import sandbox
sandbox._START = sandbox._START.replace("serve()\\n", {MISBEHAVING!r} + "\\nserve()\\n", 1)
{first}
wanted = [sandbox.File(*fields) for fields in {[tuple(file) for file in files(folder, *contents)]!r}]
found = dict(sandbox.decode_files(wanted, sandbox.Reading(32), {timeout_s}))
print(*[found[place].status for place in sorted(found)], sep="\\n", flush=True)
{last}
"""
    with started(script, out=folder / "said") as process:
        process.join(60)
        assert process.exitcode is not None, "it hangs"
    return (folder / "said").read_text().split()


def statuses(wanted: list[File], timeout_s: float = 30.0) -> list[Decoded]:
    found = dict(decode_files(wanted, READING, timeout_s))
    assert sorted(found) == list(range(len(wanted)))
    return [found[place] for place in range(len(wanted))]


def test_each_file_has_one_answer(tmp_path: Path) -> None:
    found = statuses(files(tmp_path, *range(40), b"", b"text"))
    assert [decoded.status for decoded in found] == ["ok"] * 40 + ["empty", "unidentified"]
    assert statuses([]) == []


def test_a_decoder_does_not_inherit_what_makes_it_give_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "subprocess", subprocess)
    monkeypatch.setenv(TRIM_VARIABLE, "65536")
    monkeypatch.setenv("OF_THE_USER", "1")
    decoder = sandbox._Process()
    process = psutil.Process(decoder._process.pid)
    wait_until(lambda: bool(process.environ()))  # it is started before it has one
    found = process.environ()
    decoder.close()
    assert TRIM_VARIABLE not in found
    assert found["OF_THE_USER"] == "1"


@pytest.mark.parametrize("how", [b"hang", b"sleep"])
def test_an_endless_decoder_is_ended(tmp_path: Path, misbehaving: None, how: bytes) -> None:
    found = statuses(files(tmp_path, 1, b"MISBEHAVE " + how, 2, b"MISBEHAVE " + how, 3), timeout_s=1.0)
    assert [decoded.status for decoded in found] == ["ok", "timeout", "ok", "timeout", "ok"]
    assert found[1].error == "not decoded within 1 s"


@pytest.mark.parametrize("how", [b"deaf", b"stop"])
def test_h2_a_decoder_that_nothing_ends_but_a_kill_is_one_timeout(tmp_path: Path, how: bytes) -> None:
    """One that hears no signal; one that is stopped, as in an open() that hangs in the kernel."""
    found = apart(tmp_path, [1, b"MISBEHAVE " + how, 2, b"MISBEHAVE " + how, 3], timeout_s=1.0)
    assert found == ["ok", "timeout", "ok", "timeout", "ok"]


@pytest.mark.slow
def test_h2_a_decoder_that_not_even_a_kill_ends_is_left_to_itself(tmp_path: Path) -> None:
    first = "subprocess.Popen.kill, sandbox._END_WITHIN_S = lambda self: None, 0.2"
    found = apart(tmp_path, [1, b"MISBEHAVE stop", 2], 1.0, first=first)
    assert found == ["ok", "timeout", "ok"]


def test_h2_a_file_that_cannot_be_opened_in_time_costs_no_other(tmp_path: Path) -> None:
    """Though files are opened before their turn."""
    hang = """
import os, signal
os_open = os.open
def hanging(path, *rest, **more):
    if path == HANGS:
        os.kill(os.getpid(), signal.SIGSTOP)
    return os_open(path, *rest, **more)
os.open = hanging
""".replace("HANGS", repr(os.fsencode(tmp_path / "2.png")))
    first = f"sandbox._START = sandbox._START.replace('serve()\\n', {hang!r} + '\\nserve()\\n')"
    assert apart(tmp_path, [0, 1, 2, 3, 4, 5], 1.0, first) == ["ok", "ok", "timeout", "ok", "ok", "ok"]


@pytest.mark.slow
def test_h2_a_process_that_was_stopped_while_it_was_idle_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_START_WITHIN_S", 6.0)
    wanted = files(tmp_path, *range(3))
    first = statuses(wanted)
    os.kill(sandbox._idle[-1]._process.pid, signal.SIGSTOP)
    assert [decoded.status for decoded in first + statuses(wanted)] == ["ok"] * 6


@pytest.mark.parametrize("what", ["all", "parent"])
def test_l1_a_program_that_is_stopped_longer_than_the_limit_loses_nothing(tmp_path: Path, what: str) -> None:
    """Ctrl-Z, `docker pause`: stopped 3 s while decoding, which takes 1 s of the 2 s it may."""
    at_work = tmp_path / "at-work"

    def stop() -> None:
        wait_until(at_work.exists)
        parent = int((tmp_path / "said").read_text())
        tell = os.killpg if what == "all" else os.kill
        tell(parent, signal.SIGSTOP)
        time.sleep(3)
        tell(parent, signal.SIGCONT)

    stopper = threading.Thread(target=stop)
    stopper.start()
    said = apart(
        tmp_path, [1, b"MISBEHAVE slow=" + os.fsencode(at_work), 2], 2.0, first="print(os.getpid(), flush=True)"
    )
    stopper.join()
    assert said[1:] == ["ok", "empty", "ok"]


STRANGERS = "random pickle subprocess tempfile signal struct hashlib types threading resource select zlib " + (
    "numpy PIL pillow_heif dupegrid sitecustomize usercustomize olefile defusedxml cffi"
)


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """A folder with modules that leave word when they are executed."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in STRANGERS.split():
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write({name + ' '!r})\n")
    return folder


@pytest.mark.parametrize("how", ["current folder", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "folder of the script"])
def test_s3_a_module_among_the_pictures_is_not_executed(
    tmp_path: Path, strangers: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(sandbox, "_idle", [])
    monkeypatch.chdir(strangers)
    if how == "folder of the script":
        monkeypatch.setattr(sys, "path", [str(strangers), *sys.path])
    elif how.startswith("PYTHON"):
        monkeypatch.setenv(how, str(strangers / "random.py" if how == "PYTHONSTARTUP" else strangers))
    found = statuses(files(strangers, 1, 2))
    assert not (tmp_path / "executed").exists(), (tmp_path / "executed").read_text()
    assert [decoded.status for decoded in found] == ["ok", "ok"]


def test_s3_a_run_in_a_folder_of_modules_executes_none(tmp_path: Path, strangers: Path) -> None:
    files(strangers, 1, 2)
    command = [sys.executable, "-P", "-m", "dupegrid", "run", ".", "--out", str(tmp_path / "run")]
    subprocess.run(command, cwd=strangers, check=True, capture_output=True)
    assert not (tmp_path / "executed").exists(), (tmp_path / "executed").read_text()


def test_libraries_that_only_this_process_finds_are_found_by_decoders(tmp_path: Path) -> None:
    """As with pip's --user, or PYTHONPATH: the interpreter itself has none of them."""
    script = f"""
from dupegrid.images import sandbox
wanted = [sandbox.File(*fields) for fields in {[tuple(file) for file in files(tmp_path, 1)]!r}]
print(*[decoded.status for _, decoded in sandbox.decode_files(wanted, sandbox.Reading(32), 30.0)])
"""
    found = subprocess.run(
        [getattr(sys, "_base_executable", sys.executable), "-s", "-c", script],
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.split() == ["ok"], found.stderr


def test_a_decoder_loads_no_more_than_it_needs() -> None:
    """Each starts anew, beside others: the libraries of the stages would take three times as long, and memory."""
    loaded = "import sys, dupegrid.images.decoder; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert not {"dask", "distributed", "pyarrow", "pydantic", "scipy", "zarr"} & set(done.stdout.split())


def test_a_relative_path_is_of_the_folder_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = files(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    assert [decoded.status for decoded in statuses([file._replace(path_raw=b"0.png")])] == ["ok"]


def test_decoders_do_not_raise_the_limit_of_memory_that_they_were_given(tmp_path: Path) -> None:
    given = "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))"
    found = "print(resource.prlimit(sandbox._idle[0]._process.pid, resource.RLIMIT_AS)[0])"
    assert apart(tmp_path, [1, 2], 30.0, first=given, last=found) == ["ok", "ok", str(2 << 30)]


@pytest.mark.parametrize(("how", "reason"), [(b"crash", "SIGSEGV"), (b"exit", "exit code 3")])
def test_a_decoder_that_dies_costs_its_file(tmp_path: Path, misbehaving: None, how: bytes, reason: str) -> None:
    found = statuses(files(tmp_path, *range(20), b"MISBEHAVE " + how, *range(20)))
    assert [decoded.status for decoded in found] == ["ok"] * 20 + ["decode_error"] + ["ok"] * 20
    assert reason in str(found[20].error)


def test_what_a_decoder_writes_goes_to_its_row(
    tmp_path: Path, misbehaving: None, capfd: pytest.CaptureFixture[str]
) -> None:
    found = statuses(files(tmp_path, 1, b"MISBEHAVE talk", 2))
    assert [decoded.status for decoded in found] == ["ok", "unidentified", "ok"]
    assert "warning: something is odd" in str(found[1].error)
    assert capfd.readouterr() == ("", "")


def test_a_decoder_out_of_memory_is_one_row(tmp_path: Path, misbehaving: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "subprocess", subprocess)  # a fork has more than that memory from the start
    found = statuses(files(tmp_path, 1, b"MISBEHAVE eat", 2))
    assert found[0].status == found[2].status == "ok"
    assert found[1].status in ("too_large", "decode_error")


def test_a_process_that_does_not_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_idle", [])
    monkeypatch.setattr(sandbox, "_START", "raise ImportError('no decoder here')")
    with pytest.raises(dupegrid.DupegridError, match="no decoder here"):
        statuses(files(tmp_path, 1))


def test_a_bomb_and_an_endless_decoder_cost_a_row_each(tmp_path: Path, misbehaving: None) -> None:
    files(tmp_path / "photos", *range(30), b"MISBEHAVE sleep", bomb())
    assert len(bomb()) < 461
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", file_timeout=1.0, quiet=True)
    status = run.images["status"].to_pylist()
    assert (status.count("ok"), status.count("timeout"), status.count("too_large")) == (30, 1, 1)
    assert dupegrid.status(run.path).failed == {"timeout": 1, "too_large": 1}


def bomb() -> bytes:
    """A PNG of 400 bytes whose header promises 400 megapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(50_000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16", "F", "CMYK", "1"])
def test_bands_give_what_the_whole_gives(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large pictures are converted a band of rows at a time, to the same thumbnail; RGB as Pillow's own recipe."""
    from dupegrid.images import recipe

    for seed, size in enumerate([(640, 480), (333, 1000), (1001, 257), (130, 130), (70, 900)]):
        image = picture(seed, size)
        image = (
            image.convert("I").point(lambda value: value * 200).convert("I;16")
            if mode == "I;16"
            else image.convert(mode)
        )
        buffer = io.BytesIO()
        image.save(buffer, "TIFF")
        whole = recipe.decode(buffer.getvalue(), READING).thumb
        monkeypatch.setattr("dupegrid.images.whole._PIXELS_AT_ONCE", 5000)
        banded = recipe.decode(buffer.getvalue(), READING).thumb
        monkeypatch.undo()
        assert whole is not None
        assert banded is not None
        assert (whole == banded).all()
        if mode == "RGB":
            expected = image.resize((32, 32), Image.Resampling.BICUBIC, reducing_gap=2.0)
            assert bytes(whole) == expected.tobytes()


def test_heic_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    picture(1, (200, 150)).save(path, "HEIF", quality=95)
    status = path.stat()
    (found,) = statuses([File(os.fsencode(path), status.st_size, status.st_mtime_ns)])
    assert (found.status, found.format, found.width, found.height) == ("ok", "HEIF", 200, 150)


def wait_until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120  # a busy machine takes its time
    while not is_true():
        assert time.monotonic() < end, "waited for nothing"
        time.sleep(0.05)


def test_no_process_outlives_its_parent(tmp_path: Path) -> None:
    """Not even when the parent is killed while a decoder hangs: its time is up some time."""
    files(tmp_path / "photos", 1)
    script = f"""
from dupegrid.images import sandbox
sandbox._START = sandbox._START.replace("serve()\\n", {MISBEHAVING!r} + "\\nserve()\\n", 1)
wanted = [sandbox.File({os.fsencode(tmp_path / "hang")!r}, 14, 1)]
import os
open(wanted[0].path_raw, "wb").write(b"MISBEHAVE hang")
status = os.stat(wanted[0].path_raw)
wanted = [sandbox.File(wanted[0].path_raw, status.st_size, status.st_mtime_ns)]
process = sandbox._taken()
sandbox._idle.append(process)
print(process._process.pid, flush=True)
list(sandbox.decode_files(wanted, sandbox.Reading(32), 1.0))
"""
    said = tmp_path / "said"
    with started(script, out=said) as parent:
        wait_until(lambda: said.exists() and said.read_text().endswith("\n"))
        child = int(said.read_text())
        os.kill(parent.pid, signal.SIGKILL)
        parent.join()
        command = Path(f"/proc/{child}/cmdline")
        wait_until(lambda: not command.exists() or not command.read_bytes())
