"""Pictures in buckets, on web servers and in archives: the tables are those of a folder, paths apart."""

import functools
import http.server
import os
import shutil
import struct
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import boto3
import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer

import dupegrid
from dupegrid.core.config import load_config
from dupegrid.core.errors import ConfigError, InputError, RunDirError
from dupegrid.images import fetching, remote
from dupegrid.images.archives import archive
from tests.conftest import named_matches, noise, save

SETTINGS = {"scheduler": "sync", "quiet": True, "cutoff": 400.0, "thumb": 16}
PLACE = {"path", "path_raw", "mtime_ns", "ctime_ns", "device", "inode"}  # what depends on where a file lies


class Bucket:
    """A bucket of a server in this process."""

    def __init__(self, port: int) -> None:
        self.address = "s3://photos"
        self.asked: list[str] = []
        self._client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        self._client.create_bucket(Bucket="photos")

    def put(self, name: str, data: bytes) -> None:
        self._client.put_object(Bucket="photos", Key=name, Body=data)

    def remove(self, name: str) -> None:
        self._client.delete_object(Bucket="photos", Key=name)


@pytest.fixture(scope="module")
def _moto() -> Iterator[int]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def bucket(_moto: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    facts = {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "ALLOW_HTTP": "true", "REGION": "us-east-1"}
    facts |= {"ENDPOINT_URL": f"http://127.0.0.1:{_moto}", "DEFAULT_REGION": "us-east-1"}
    for name, value in facts.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    made = Bucket(_moto)
    yield made
    for entry in made._client.list_objects_v2(Bucket="photos").get("Contents", []):
        made.remove(entry["Key"])


class Web(http.server.ThreadingHTTPServer):
    """A web server that lists a folder."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                outer.asked.append(f"{self.command} {self.path}")

        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Web(tmp_path)
    yield server
    server.close()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures, some alike, with names that addresses and archives write in their own ways; and what is none."""
    folder = tmp_path / "photos"
    for place, name in enumerate(("a b.png", "a!b.png", "100%25.jpg", "sub/é#1?.png", "sub/deep/x&y'.png", "z.png")):
        save(folder / name, place % 3)
    (folder / "empty.jpg").touch()
    (folder / "text.txt").write_text("no picture")
    (folder / "sub/broken.jpg").write_bytes((folder / "100%25.jpg").read_bytes()[:-300])
    return folder


def below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def zipped(folder: Path, to: Path) -> Path:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as made:
        for file in reversed(below(folder)):
            made.write(file, file.relative_to(folder))
    return to


def tarred(folder: Path, to: Path) -> Path:
    with tarfile.open(to, "w:gz" if to.suffix == ".gz" else "w") as made:
        made.add(folder, ".")  # as tar -C folder . does
    return to


@pytest.fixture(params=["s3", "http", "zip", "tar", "tar.gz"])
def copied(request: pytest.FixtureRequest, photos: Path, tmp_path: Path) -> str:
    """The same pictures elsewhere."""
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        for file in below(photos):
            bucket.put(f"all/{file.relative_to(photos)}", file.read_bytes())
        return f"{bucket.address}/all"
    if request.param == "http":
        return f"{request.getfixturevalue('web').address}/photos/"
    made = zipped if request.param == "zip" else tarred
    return str(made(photos, tmp_path / f"archive.{request.param}"))


def apart(table: pa.Table) -> pa.Table:
    """A table without what depends on where the files lie."""
    return table.drop_columns([name for name in table.column_names if name in {*PLACE, "path_a", "path_b"}])


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The names of the files that are fetched; nothing of them may be left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("fetched")))
    names: list[str] = []
    saved = fetching._fetch

    def watched(folder: bytes, order: fetching._Order, *rest: object) -> fetching.Batch:
        names.extend(os.path.basename(os.fsdecode(file.path_raw)) for file in order.files)
        return saved(folder, order, *rest)

    monkeypatch.setattr(fetching, "_fetch", watched)
    yield names
    assert os.listdir(tempfile.gettempdir()) == []


def test_the_tables_are_those_of_the_folder(copied: str, photos: Path, tmp_path: Path, fetches: list[str]) -> None:
    here = dupegrid.run(photos, out=tmp_path / "here", **SETTINGS)
    there = dupegrid.run(copied, out=tmp_path / "there", **SETTINGS)
    for name in ("images", "matches", "clusters"):
        assert apart(getattr(there, name)) == apart(getattr(here, name)), name
    assert (there.thumbs.compute() == here.thumbs.compute()).all()
    names = [path.removeprefix(os.fsencode(photos)) for path in here.images["path_raw"].to_pylist()]
    paths = [path.removeprefix(copied.rstrip("/").encode()) for path in there.images["path_raw"].to_pylist()]
    assert [unquote_to_bytes(path) if copied.startswith("http") else path for path in paths] == names
    assert len(fetches) == len(names)
    again = dupegrid.run(copied, out=tmp_path / "there", **SETTINGS)
    assert len(fetches) == len(names)
    assert again.images == there.images
    assert there.explain(0, 1).mse == here.explain(0, 1).mse
    whole = there.images["path"][1].as_py()
    assert there.explain(whole, "z.png").mse == here.explain("a b.png", "z.png").mse
    assert dupegrid.estimate(copied).images == len(names)


@pytest.mark.parametrize("change", ["one picture", "one more", "one less", "nothing"])
def test_what_has_not_changed_is_not_decoded_again(
    copied: str, photos: Path, tmp_path: Path, change: str, fetches: list[str], request: pytest.FixtureRequest
) -> None:
    before = dupegrid.run(copied, out=tmp_path / "run", **SETTINGS).images
    fetches.clear()
    place = photos / ("z.png" if change != "one more" else "sub/new.png")
    if change == "one less":
        place.unlink()
    elif change != "nothing":
        save(place, 7)
        os.utime(place, (1_000_000_000, 1_000_000_000))
    if copied.startswith("s3") and change != "nothing":
        bucket = request.getfixturevalue("bucket")
        name = f"all/{place.relative_to(photos)}"
        bucket.put(name, place.read_bytes()) if place.exists() else bucket.remove(name)
    elif copied.startswith("/"):
        (zipped if copied.endswith("zip") else tarred)(photos, Path(copied))
    opened = request.getfixturevalue("opened")
    run = dupegrid.run(copied, out=tmp_path / "run", **SETTINGS)
    new = int(change in ("one picture", "one more"))
    if copied.startswith("/"):  # one that was written anew is read, and what has no hash is looked at again
        assert len(opened) == new + before["file_hash"].null_count
    else:
        assert (len(opened), fetches) == (new, [place.name] * new)
    if change == "nothing":
        assert apart(run.images) == apart(before)
    elif change == "one less":
        assert run.images["status"].to_pylist().count("removed") == 1
    else:
        fresh = dupegrid.run(photos, out=tmp_path / "fresh", **SETTINGS)
        assert sorted(map(str, apart(run.images).drop_columns("id").to_pylist())) == sorted(
            map(str, apart(fresh.images).drop_columns("id").to_pylist())
        )
