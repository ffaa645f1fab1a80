"""A run directory in a bucket: the tables of one on a disk, also after kills; one run at a time; errors in one line."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import obstore
import pytest

import dupegrid
from dupegrid.core.errors import DupegridError, RunDirError
from dupegrid.storage import lock
from dupegrid.storage.bucket import BucketPath, bucket_path, store_of
from dupegrid.storage.lock import locked
from tests.helpers.bucket import a_bucket, environment
from tests.helpers.crash import draw, tables
from tests.helpers.forks import forked_workers, started

pytestmark = pytest.mark.slow  # side by side, one process has the server that all of these need
KILLS = int(os.environ.get("DUPEGRID_KILLS", "3"))  # 20 in the long form, `make test-crash`
PHOTOS, TILE = (30, 8) if KILLS > 3 else (8, 4)
SETTINGS: dict[str, object] = {"quiet": True, "thumb": 16, "cutoff": 500.0, "tile": TILE}


@pytest.fixture(scope="module")
def bucket() -> Iterator[BucketPath]:
    with a_bucket() as found:
        yield found


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    draw(folder, 0, PHOTOS)
    return folder


@pytest.fixture(scope="module")
def on_disk(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the same pictures, on a disk."""
    return dupegrid.run(photos, out=tmp_path_factory.mktemp("disk") / "run", **SETTINGS).path


def names(place: BucketPath) -> set[str]:
    return {path.name for path in place.iterdir()}


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # dask's own
def test_a_run_in_a_bucket_has_the_tables_of_one_on_a_disk(bucket: BucketPath, photos: Path, on_disk: Path) -> None:
    out = f"{bucket.bucket}/first/run"
    run = dupegrid.run(photos, out=out, **SETTINGS)
    assert str(run.path) == out
    assert tables(out) == tables(on_disk)
    assert names(bucket.parent / "first") == {"run"}
    assert names(run.path) == {path.name for path in on_disk.iterdir()}
    assert b"<html" in (run.path / "report.html").read_bytes()
    assert run.thumbs_of(np.array([3])).shape == (1, 16, 16, 3)
    assert run.explain(0, 1).a.id == 0
    assert len(run.frame("matches").compute()) == len(run.matches)
    assert dupegrid.status(out).compare.done == dupegrid.status(out).compare.total > 0


def test_going_on_takes_up_what_is_new_and_nothing_else(bucket: BucketPath, tmp_path: Path) -> None:
    draw(tmp_path / "photos", 0, 8)
    out = str(bucket / "going-on")
    dupegrid.run(tmp_path / "photos", out=out, **SETTINGS)
    thumbs = bucket / "going-on/thumbs.zarr"
    before = {path.name: path.read_bytes() for path in thumbs.iterdir()}
    draw(tmp_path / "photos", 8, 6)
    run = dupegrid.run(tmp_path / "photos", out=out, **SETTINGS)
    assert tables(out) == tables(dupegrid.run(tmp_path / "photos", out=tmp_path / "fresh", **SETTINGS).path)
    assert {name for name, data in before.items() if (thumbs / name).read_bytes() == data} >= {"c.0.0.0.0", "c.1.0.0.0"}
    dupegrid.compare(out, threshold=10.0, quiet=True)
    assert dupegrid.cluster(out, threshold=5.0).config.threshold == 5.0
    assert len(run.images) == 14


def test_killed_at_any_moment_it_goes_on_to_the_same_tables(bucket: BucketPath, photos: Path, on_disk: Path) -> None:
    expected, chance = tables(on_disk), random.Random(os.environ.get("DUPEGRID_SEED", "7"))
    code = f"""
import os, sys, dupegrid
from tests.helpers.forks import fork_decoders
os.environ |= {environment()!r}
fork_decoders()
dupegrid.run({str(photos)!r}, out=sys.argv[1], scheduler="threads", **{SETTINGS!r})
"""
    with started("pass") as process:  # what it is forked from has started by then
        process.join()
    begin = time.monotonic()
    with started(code, bucket / "timed") as process:
        process.join()
        assert process.exitcode == 0
    length_s = time.monotonic() - begin
    killed = 0
    while killed < KILLS:
        out = str(bucket / f"killed-{killed}-{chance.random()}")
        with started(code, out) as process:
            time.sleep(chance.uniform(0.05, 0.95) * length_s)
        if process.exitcode == -signal.SIGKILL:
            killed += 1
            dupegrid.run(photos, out=out, **SETTINGS)
            assert tables(out) == expected


def test_one_run_at_a_time(bucket: BucketPath, photos: Path) -> None:
    place = bucket / "locked"
    with locked(place), pytest.raises(RunDirError, match=f"in use by process {os.getpid()}"):
        dupegrid.run(photos, out=str(place), **SETTINGS)
    assert (place / "lock").read_bytes() == b""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    entry = {"host": socket.gethostname(), "pid": dead.pid, "since": "earlier", "token": "x"}
    (place / "lock").write_bytes(json.dumps(entry).encode())
    with locked(place):
        pass
    (place / "lock").write_bytes(b"somebody's notes")
    with pytest.raises(RunDirError, match="no file of dupegrid's"), locked(place):
        pass
    assert (place / "lock").read_bytes() == b"somebody's notes"


def test_of_two_that_take_a_lock_at_once_one_has_it(bucket: BucketPath) -> None:
    place = bucket / "two/lock"
    assert place.write_if(b"one", None)
    assert not place.write_if(b"two", None)
    assert not place.write_if(b"two", b"")
    assert place.write_if(b"two", b"one")
    assert place.read_bytes() == b"two"


def test_where_no_notice_is_taken_of_conditions_the_last_to_write_has_the_lock(
    bucket: BucketPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, put = bucket / "heedless", obstore.put
    assert (place / "probe").takes_conditions()
    monkeypatch.setattr(obstore, "put", lambda store, key, data, **_: put(store, key, data))
    assert not (place / "probe").takes_conditions()
    monkeypatch.setattr(lock, "_SETTLES_S", 0.0)
    with locked(place):
        assert names(place) == {"lock"}
    monkeypatch.setattr(lock.time, "sleep", lambda _: (place / "lock").write_bytes(b"another's"))
    with pytest.raises(RunDirError, match="in use by another process"), locked(place):
        pass
    assert (place / "lock").read_bytes() == b"another's"


def test_what_is_not_ours_stays(bucket: BucketPath, photos: Path) -> None:
    place = bucket / "strange"
    (place / "notes.txt").write_bytes(b"mine")
    with pytest.raises(RunDirError, match="has other files in it"):
        dupegrid.run(photos, out=str(place), **SETTINGS)
    run = dupegrid.run(photos, out=str(bucket / "mixed"), **SETTINGS)
    (run.path / "thumbs.zarr/notes.txt").write_bytes(b"mine")
    (run.path / "clusters.parquet").write_bytes(b"mine too")
    with pytest.raises(RunDirError, match=r"clusters\.parquet was not written by dupegrid"):
        dupegrid.run(photos, out=str(run.path), **SETTINGS)
    run.run_dir.discard_from("index", keep=("clusters.parquet",))
    assert names(run.path) >= {"thumbs.zarr", "clusters.parquet"}
    assert names(run.path / "thumbs.zarr") == {"notes.txt"}


def test_a_run_json_that_is_not_ours_is_one_line(bucket: BucketPath, photos: Path) -> None:
    (bucket / "foreign/run.json").write_bytes(b'{"cmd": "train"}')
    with pytest.raises(RunDirError, match=r"its run\.json is not one of dupegrid's"):
        dupegrid.run(photos, out=str(bucket / "foreign"), **SETTINGS)
    assert names(bucket / "foreign") == {"run.json"}


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("s3://user:secret@bucket/run", "leave who you are to the environment"),
        ("ftp://host/run", "name a folder, or s3://BUCKET/RUN"),
        ("s3://", "name a folder, or s3://BUCKET/RUN"),
        ("s3://bucket/../other", "name a folder, or s3://BUCKET/RUN"),
    ],
)
def test_what_names_no_place_is_one_line(photos: Path, out: str, message: str) -> None:
    with pytest.raises(RunDirError, match=message) as raised:
        dupegrid.run(photos, out=out, **SETTINGS)
    assert "secret" not in str(raised.value)


def test_a_bucket_that_is_not_there_is_one_line(bucket: BucketPath, photos: Path) -> None:
    with pytest.raises(
        DupegridError, match=r"cannot use s3://nobody-has-this: the server answers 404, NoSuchBucket; check its name"
    ) as raised:
        dupegrid.run(photos, out="s3://nobody-has-this/run", **SETTINGS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize(("server", "without_tls"), [("HTTP://host", True), ("https://host", False), (None, False)])
def test_only_a_server_that_is_named_so_is_asked_without_tls(
    monkeypatch: pytest.MonkeyPatch, server: str | None, without_tls: bool, name: str
) -> None:
    """Else a redirect could lead from a server that nobody can listen to to one where anybody can."""
    for known in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(known, raising=False)
    if server is not None:
        monkeypatch.setenv(name, server)
    assert store_of.__wrapped__("s3://some").client_options["allow_http"] in (without_tls, str(without_tls).lower())


def test_a_place_in_a_bucket_is_no_place_on_this_machine() -> None:
    place = bucket_path("s3://bucket/run")
    assert place is not None
    assert (str(place), place.key, place.bucket) == ("s3://bucket/run", "run", "s3://bucket")
    assert str(place / "a/b") == "s3://bucket/run/a/b"
    with pytest.raises(TypeError):
        os.fspath(place)


@pytest.mark.parametrize("scheduler", ["processes", "local"])
def test_workers_that_are_processes_write_to_the_bucket_too(
    bucket: BucketPath, photos: Path, on_disk: Path, scheduler: str
) -> None:
    out = str(bucket / scheduler)
    with forked_workers():
        dupegrid.run(photos, out=out, scheduler=scheduler, workers=2, **SETTINGS)
    assert tables(out) == tables(on_disk)
