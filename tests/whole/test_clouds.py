"""Runs and pictures in buckets as Google and Azure have them: the tables are those of a disk."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import dupegrid
from dupegrid.core.errors import DupegridError, InputError, RunDirError
from dupegrid.storage.bucket import BucketPath, bucket_path, store_of
from dupegrid.storage.lock import locked
from tests.helpers import azure, google
from tests.helpers.crash import draw, tables
from tests.helpers.forks import started

pytestmark = pytest.mark.slow  # and so one process has moto's server, beside test_bucket.py
SETTINGS: dict[str, object] = {"quiet": True, "thumb": 16, "cutoff": 500.0, "tile": 8, "scheduler": "threads"}
KILLS = int(os.environ.get("DUPEGRID_KILLS", "1"))
PLACE = ["path", "path_raw", "mtime_ns", "ctime_ns", "device", "inode"]


@pytest.fixture(scope="module", params=["gs", "az"])
def bucket(request: pytest.FixtureRequest) -> Iterator[BucketPath]:
    name = f"bucket{uuid.uuid4().hex}"  # obstore quotes a "-", and moto does not unquote it
    with ExitStack() as stack:
        if request.param == "gs":
            environment = google.environment()
            google.make_bucket(name)
        else:
            if azure.PROGRAM is None:
                pytest.skip("no Azurite on this machine: npm install -g azurite")
            address = stack.enter_context(azure.server())
            environment = azure.environment(address)
            azure.make_container(address, name)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for key, value in environment.items():
            patch.setenv(key, value)
        stack.callback(store_of.cache_clear)
        store_of.cache_clear()
        found = bucket_path(f"{request.param}://{name}/some")
        assert found is not None
        yield found


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    draw(folder, 0, 12)
    return folder


@pytest.fixture(scope="module")
def on_disk(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    return dupegrid.run(photos, out=tmp_path_factory.mktemp("disk") / "run", **SETTINGS)


def test_a_run_goes_on_after_a_kill_to_the_tables_of_a_disk(
    bucket: BucketPath, photos: Path, on_disk: dupegrid.Run
) -> None:
    environment = {name: value for name, value in os.environ.items() if name.startswith(("AZURE_", "GOOGLE_"))}
    code = f"""
import os, sys, dupegrid
from tests.helpers.forks import fork_decoders
os.environ |= {environment!r}
fork_decoders()
dupegrid.run({str(photos)!r}, out=sys.argv[1], **{SETTINGS!r})
"""
    for k in range(KILLS):
        place = bucket / f"run-{k}"
        with started(code, place) as process:
            while not (place / "thumbs.zarr/zarr.json").is_file():
                assert process.exitcode is None
                time.sleep(0.01)
            time.sleep(0.02 * k)
        assert process.exitcode in (-signal.SIGKILL, 0)
        run = dupegrid.run(photos, out=str(place), **SETTINGS)
        assert tables(str(place)) == tables(on_disk.path)
        assert {path.name for path in run.path.iterdir()} == {path.name for path in on_disk.path.iterdir()}
    dupegrid.compare(str(place), threshold=10.0, quiet=True)
    assert dupegrid.cluster(str(place), threshold=5.0).config.threshold == 5.0


def test_of_two_that_take_a_lock_at_once_one_has_it(bucket: BucketPath, photos: Path) -> None:
    lock = bucket / "two/lock"
    assert lock.write_if(b"one", None)
    assert not lock.write_if(b"two", None)
    assert not lock.write_if(b"two", b"")
    assert lock.write_if(b"two", b"one")
    assert lock.read_bytes() == b"two"
    with locked(bucket / "locked"), pytest.raises(RunDirError, match=f"in use by process {os.getpid()}"):
        dupegrid.run(photos, out=str(bucket / "locked"), **SETTINGS)


def test_what_is_not_there_is_deleted_in_vain_and_the_rest_goes(bucket: BucketPath) -> None:
    folder = bucket / "some"
    for name in ("b", "c"):
        (folder / name).touch()
    (folder / "none").unlink(missing_ok=True)
    folder.unlink_below(["a", "b", "none", "c"])
    assert not folder.exists()


def test_an_object_in_many_parts_is_whole(bucket: BucketPath) -> None:
    data = os.urandom(1 << 16) * 96
    (bucket / "large").write_bytes(data)
    with (bucket / "large").reading(1 << 22) as file:
        assert file.read() == data
    assert (bucket / "large").read_parts([1, 5_900_000], 5) == [data[1:6], data[5_900_000:5_900_005]]


def test_pictures_are_those_of_a_folder(
    bucket: BucketPath, photos: Path, on_disk: dupegrid.Run, tmp_path: Path
) -> None:
    for path in photos.iterdir():
        (bucket / "photos" / path.name).write_bytes(path.read_bytes())
    run = dupegrid.run(str(bucket / "photos"), out=tmp_path / "run", **SETTINGS)
    assert run.images.drop_columns(PLACE) == on_disk.images.drop_columns(PLACE)
    pairs = ["a", "b", "mse", "orientation"]
    assert run.matches.select(pairs) == on_disk.matches.select(pairs)
    again = dupegrid.run(str(bucket / "photos"), out=tmp_path / "run", **SETTINGS)
    assert again.images["status"].to_pylist() == ["ok"] * 12


def test_a_bucket_that_is_not_there_is_one_line(bucket: BucketPath, photos: Path, tmp_path: Path) -> None:
    url = f"{bucket.parts[0]}//nobody-has-this"
    code = {"gs:": "NoSuchBucket", "az:": "ContainerNotFound"}[bucket.parts[0]]
    with pytest.raises(DupegridError, match=f"cannot use {url}: the server answers 404, {code}; check its name"):
        dupegrid.run(photos, out=f"{url}/run", **SETTINGS)
    with pytest.raises(InputError, match=f"cannot list {url}: the server answers 404, {code}; check its spelling"):
        dupegrid.run(url, out=tmp_path / "run", **SETTINGS)
