"""Pictures in buckets, on web servers and in archives: the tables are those of a folder, paths apart."""

import errno
import functools
import http.server
import os
import shutil
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote_to_bytes

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import dupegrid
from dupegrid.core.config import load_config
from dupegrid.core.errors import ConfigError, DupegridError, InputError, RunDirError
from dupegrid.images import archives, decoder, fetching
from dupegrid.images.sources import Sources
from tests.conftest import save
from tests.helpers.bucket import client, environment

SETTINGS = {"scheduler": "sync", "quiet": True, "cutoff": 400.0, "thumb": 16}
PLACE = {"path", "path_raw", "mtime_ns", "ctime_ns", "device", "inode"}  # what depends on where a file lies


class Bucket:
    """A bucket of a server in this process."""

    address = "s3://photos"

    def __init__(self) -> None:
        client().create_bucket(Bucket="photos")

    def put(self, name: str, data: bytes) -> None:
        client().put_object(Bucket="photos", Key=name, Body=data)

    def remove(self, name: str) -> None:
        client().delete_object(Bucket="photos", Key=name)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    facts = {"AWS_ALLOW_HTTP": "true", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**environment(), **facts}.items():
        monkeypatch.setenv(name, value)
    made = Bucket()
    yield made
    for entry in client().list_objects_v2(Bucket="photos").get("Contents", []):
        made.remove(entry["Key"])


class Handler(http.server.SimpleHTTPRequestHandler):
    """Lists and gives the files of a folder."""

    said: ClassVar[dict[str, str | None]] = {}  # headers that are other than usual; None: not at all

    def log_message(self, *_: object) -> None:
        pass

    def send_header(self, name: str, value: str) -> None:
        value = self.said.get(name, value)
        if value is not None:
            super().send_header(name, value)


class Web(http.server.ThreadingHTTPServer):
    """A web server that lists a folder."""

    def __init__(self, folder: Path) -> None:
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
    """A table without what depends on where the files lie, and since when: also which of two alike files is older."""
    of_place = {*PLACE, "path_a", "path_b", "path_raw_a", "path_raw_b", "rule", "compared"}
    return table.drop_columns([name for name in table.column_names if name in of_place])


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The names of the files that are fetched; nothing of them may be left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("fetched")))
    names: list[str] = []
    saved = fetching._fetch

    def watched(folder: bytes, files: Sequence[decoder.File], order: fetching._Order, *rest: object) -> fetching.Batch:
        names.extend(os.path.basename(os.fsdecode(files[place].path_raw)) for place in order.places)
        return saved(folder, files, order, *rest)

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


def rows(run: dupegrid.Run) -> list[str]:
    """What the images are, without their ids and places, in no order."""
    there = run.images.filter(pc.not_equal(run.images["status"], "removed"))
    return sorted(map(str, apart(there).drop_columns("id").to_pylist()))


def test_what_has_not_changed_is_not_decoded_again(
    copied: str, photos: Path, tmp_path: Path, fetches: list[str], opened: list[str], request: pytest.FixtureRequest
) -> None:
    dupegrid.index(copied, out=tmp_path / "run", **SETTINGS)
    changed, new, gone = photos / "z.png", photos / "sub/new.png", photos / "a b.png"
    gone.unlink()
    for place in (changed, new):
        save(place, 7)
        os.utime(place, (1_000_000_000, 1_000_000_000))
    if copied.startswith("s3"):
        bucket = request.getfixturevalue("bucket")
        bucket.remove("all/a b.png")
        for place in (changed, new):
            bucket.put(f"all/{place.relative_to(photos)}", place.read_bytes())
    elif copied.startswith("/"):
        (zipped if copied.endswith("zip") else tarred)(photos, Path(copied))
    fetches.clear()
    opened.clear()
    run = dupegrid.index(copied, out=tmp_path / "run", **SETTINGS)
    if copied.startswith("/"):  # one that was written anew is read, and what has no hash is looked at again
        assert len(opened) == 2 + sum(status != "ok" for status in run.images["status"].to_pylist()) - 1
    else:
        assert len(opened) == 2
        assert sorted(fetches) == ["new.png", "z.png"]
    assert rows(run) == rows(dupegrid.index(photos, out=tmp_path / "fresh", **SETTINGS))
    assert (
        run.images["path"]
        .to_pylist()[run.images["status"].to_pylist().index("removed")]
        .endswith("/a%20b.png" if copied.startswith("http") else "/a b.png")
    )


def test_they_mix_with_folders_and_with_each_other(photos: Path, bucket: Bucket, web: Web, tmp_path: Path) -> None:
    """Sides, roots inside each other and what is left out go by paths, wherever these lead."""
    shutil.copytree(photos, old := tmp_path / "old")
    for file in below(photos):
        bucket.put(f"all/{file.relative_to(photos)}", file.read_bytes())
    s3, site = f"{bucket.address}/all", f"{web.address}/photos"
    places = (photos, old), (s3, zipped(old, tmp_path / "old.zip")), (site, tarred(old, tmp_path / "old.tar.gz"))
    settings = {**SETTINGS, "scheduler": "threads", "extensions": ".png,.jpg", "ignore_name": ["a!*", "x&y*"]}
    found = []
    for number, (place, against) in enumerate(places):
        paths, left_out = [place, f"{place}/sub"], [f"{place}/empty.jpg", f"{against}/sub"]
        out = tmp_path / f"run{number}"
        run = dupegrid.run(*paths, against=against, ignore_path=left_out, out=out, **settings)
        found.append([apart(run.images), apart(run.matches), apart(run.clusters)])
        assert run.images["root"].to_pylist() == [0] * 3 + [1] * 2 + [2] * 4
        again = dupegrid.index(*paths, against=against, out=out, ignore_path=left_out, **settings)
        assert again.images == run.images
        wider = dupegrid.index(*paths, against=against, out=out, **settings | {"extensions": ".png"})
        gone = wider.images.filter(pc.equal(wider.images["status"], "removed"))
        assert all(os.path.splitext(path)[1] == ".jpg" for path in gone["path"].to_pylist())
        assert all("left out by" in error for error in gone["error"].to_pylist())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "address",
    [
        "s3://AKIAX:se/cr+et@photos/all",
        "s3://AKIAX:secret@photos",
        "https://me:secret@host/photos/",
        "https://secret@host/",
        "https://host/photos/?sig=secret",
        "ftp://me:secret@host/photos",
    ],
)
@pytest.mark.parametrize("flag", ["paths", "against", "ignore_path", "files_from"])
def test_an_address_with_a_secret_is_refused_without_saying_it(tmp_path: Path, address: str, flag: str) -> None:
    paths = {"paths": [str(tmp_path)], "out": tmp_path / "run", flag: address}
    with pytest.raises(ConfigError) as raised:
        dupegrid.run(**paths, quiet=True)
    assert flag in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "se/cr" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_an_address_has_one_spelling() -> None:
    given = ["S3://b//x/y/", "https://Host:80/a b/%c3%a9/(1)/", "gs://b", "az://c/50%25", "http://[::1]:8/"]
    kept = ("s3://b/x/y", "https://host:80/a%20b/%C3%A9/%281%29", "gs://b", "az://c/50%25", "http://[::1]:8")
    assert load_config(paths=given).paths == kept
    assert load_config(paths=list(kept)).paths == kept
    for wrong in ("s3://", "s3://b/../c", "http:///x", "https://host/a/./b", "s3://b/\n", "http://host:port/"):
        with pytest.raises(ConfigError, match=r"^paths\.0 is "):
            load_config(paths=[wrong])


def refused(*places: object, out: Path, **settings: object) -> str:
    """The one line that a run on places ends with, before anything is written."""
    with pytest.raises(InputError) as raised:
        dupegrid.run(*places, out=out, **SETTINGS, **settings)
    assert not out.exists()
    (line,) = str(raised.value).splitlines()
    return line


def test_what_cannot_be_listed_is_one_line(
    bucket: Bucket, web: Web, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert "nothing is in s3://photos/none: check" in refused(f"{bucket.address}/none", out=out)
    assert "cannot list s3://nowhere: the server answers 404" in refused("s3://nowhere", out=out)
    bucket.put("all//a.png", b"")
    assert "cannot list s3://photos/all: " in (line := refused(f"{bucket.address}/all", out=out))
    assert "empty path segment" in line
    assert f"cannot list {web.address}/none: it is not there" in refused(f"{web.address}/none/", out=out)
    assert f"cannot list {web.address}/photos/z.png: " in refused(f"{web.address}/photos/z.png", out=out)
    with monkeypatch.context() as patch:
        patch.setattr(Handler, "said", {"Content-type": "application/json"})
        assert "is no page that lists files: name the folder" in refused(f"{web.address}/photos/", out=out)
    assert "is both a PATH and --against" in refused(bucket.address, against=bucket.address, out=out)
    web.close()
    assert f"cannot list {web.address}/photos: Cannot connect" in refused(f"{web.address}/photos/", out=out)
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.address)
    assert "cannot list s3://photos: " in refused(bucket.address, out=out)
    (tmp_path / "no.zip").write_bytes(b"PK\3\4nothing")
    assert "no.zip is a file, and no zip or tar archive" in refused(tmp_path / "no.zip", out=out)
    archive_ = zipped(photos, tmp_path / "a.zip")
    (tmp_path / "link.zip").symlink_to(archive_)
    assert "is both a PATH and --against" in refused(archive_, against=tmp_path / "link.zip", out=out)


def test_a_run_in_a_bucket_is_not_beside_its_photos(
    bucket: Bucket, photos: Path, monkeypatch: pytest.MonkeyPatch, fetches: list[str]
) -> None:
    for name in ("a b.png", "z.png"):
        bucket.put(f"all/{name}", (photos / name).read_bytes())
    for out in (f"{bucket.address}/all", f"{bucket.address}/all/run"):
        with pytest.raises(RunDirError, match="lies inside s3://photos/all: choose a folder outside it"):
            dupegrid.index(f"{bucket.address}/all", out=out, **SETTINGS)
    monkeypatch.setenv("AWS_ENDPOINT", os.environ["AWS_ENDPOINT_URL"])  # obstore knows this name too
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    for _ in range(2):
        run = dupegrid.index(f"{bucket.address}/all", out=f"{bucket.address}/all-run", **SETTINGS)
        assert run.images["status"].to_pylist() == ["ok", "ok"]
        assert sorted(fetches) == ["a b.png", "z.png"]


@pytest.mark.parametrize(("library", "address"), [("obstore", "gs://b"), ("aiohttp", "https://host")])
def test_a_library_that_is_lacking_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, address: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == library] + [library]:
        monkeypatch.setitem(sys.modules, name, None)
    extra = {"obstore": "s3", "aiohttp": "http"}[library]
    line = f"{address} needs {library}: pip install 'dupegrid[{extra}]'"
    assert refused(address, out=tmp_path / "run").endswith(line)


def statuses(run: dupegrid.Run) -> dict[str, tuple[str, str | None]]:
    return {row["path"].rsplit("/", 1)[1]: (row["status"], row["error"]) for row in run.images.to_pylist()}


def test_what_goes_between_listing_and_fetching_costs_its_row(
    bucket: Bucket, photos: Path, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetches: list[str]
) -> None:
    for name in ("a b.png", "z.png"):
        bucket.put(name, (photos / name).read_bytes())
    fetch = fetching._fetch

    def late(*arguments: object) -> fetching.Batch:
        bucket.remove("z.png")
        save(photos / "sub/deep/x&y'.png", 11)
        if web.address.endswith(str(web.server_port)) and (photos / "z.png").exists():
            (photos / "z.png").unlink()
        return fetch(*arguments)

    monkeypatch.setattr(fetching, "_fetch", late)
    run = dupegrid.index(bucket.address, f"{web.address}/photos", out=tmp_path / "run", **SETTINGS)
    by_path = {row["path"]: (row["status"], row["error"]) for row in run.images.to_pylist()}
    assert by_path[f"{bucket.address}/z.png"] == ("unreadable", "it is not there")
    assert by_path[f"{web.address}/photos/z.png"] == ("unreadable", "it is not there")
    assert by_path[f"{bucket.address}/a b.png"] == ("ok", None)
    assert by_path[f"{web.address}/photos/sub/deep/x%26y%27.png"][0] == "changed"
    monkeypatch.setattr(fetching, "_fetch", fetch)
    again = dupegrid.index(bucket.address, f"{web.address}/photos", out=tmp_path / "run", **SETTINGS)
    assert sorted(again.images["status"].to_pylist()).count("removed") == 2
    assert "changed" not in again.images["status"].to_pylist()


def test_a_server_that_goes_costs_rows_and_comes_back(
    photos: Path, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = fetching._fetch
    monkeypatch.setattr(fetching, "_fetch", lambda *rest: (web.server_close(), web.shutdown(), fetch(*rest))[2])
    run = dupegrid.index(f"{web.address}/photos", out=tmp_path / "run", **SETTINGS)
    assert {status for status, _ in statuses(run).values()} == {"unreadable", "empty"}


def test_a_server_that_says_no_times_is_read_again_and_not_decoded(
    photos: Path, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetches: list[str], opened: list[str]
) -> None:
    monkeypatch.setattr(Handler, "said", {"Last-Modified": None})
    for name in ("empty.jpg", "text.txt", "sub/broken.jpg"):
        (photos / name).unlink()
    first = dupegrid.index(f"{web.address}/photos", out=tmp_path / "run", **SETTINGS)
    assert first.images["ctime_ns"].to_pylist() == [0] * 6
    fetches.clear()
    opened.clear()
    second = dupegrid.index(f"{web.address}/photos", out=tmp_path / "run", **SETTINGS)
    assert (len(fetches), opened) == (6, [])
    assert second.images == first.images


def test_members_that_do_harm_cost_their_rows(photos: Path, tmp_path: Path, fetches: list[str]) -> None:
    made, data = tmp_path / "photos.zip", (photos / "z.png").read_bytes()
    names = ("good.png", "damaged.png", "encrypted.png", "larger.png", "../x.png", "/root.png", "bomb.png", "inner.zip")
    with zipfile.ZipFile(made, "w") as archive_:
        for name in names:
            archive_.writestr(name, data)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive_.writestr(link, "good.png")
        infos = {info.filename: info for info in archive_.infolist()}
        infos["encrypted.png"].flag_bits |= 1
        infos["larger.png"].file_size = len(data) + 5
        infos["bomb.png"].file_size = 1 << 50
    whole = bytearray(made.read_bytes())
    whole[infos["damaged.png"].header_offset + 100] ^= 255
    made.write_bytes(whole)
    run = dupegrid.run(made, out=tmp_path / "run", **SETTINGS)
    found = statuses(run)
    assert found.pop("good.png") == found.pop("root.png") == ("ok", None)
    assert found.pop("encrypted.png") == ("unreadable", "it is encrypted")
    assert found.pop("x.png") == ("unreadable", "its name leads out of the archive")
    assert found.pop("bomb.png")[0] == "too_large"
    assert found.pop("inner.zip")[0] == "ok"  # what it holds decides, and it is not opened as an archive
    assert "CRC" in found.pop("damaged.png")[1]
    assert found.pop("larger.png")[0] in ("unreadable", "changed")
    assert not found
    assert run.summary.links_left_alone == 1
    assert sorted(os.listdir(tmp_path)) == ["photos", "photos.zip", "run"]


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_links_and_the_end_of_a_tar(photos: Path, tmp_path: Path, ending: str, fetches: list[str]) -> None:
    (photos / "a-link.png").symlink_to("z.png")
    (photos / "zz.png").hardlink_to(photos / "z.png")
    (photos / "sub/out").symlink_to("/etc")
    run = dupegrid.run(tarred(photos, tmp_path / f"p.{ending}"), out=tmp_path / "run", **SETTINGS)
    assert run.summary.links_left_alone == 3
    assert len(run.images) == 9
    made = tmp_path / f"p.{ending}"
    made.write_bytes(made.read_bytes()[: made.stat().st_size // 2])
    cut = dupegrid.run(made, out=tmp_path / "cut", **SETTINGS)
    assert cut.receipt.unreadable_folders == [str(made)]
    assert 0 < len(cut.images) < 9
    assert "ok" in cut.images["status"].to_pylist()
    known = dupegrid.run(made, out=tmp_path / "run", **SETTINGS)
    assert "removed" not in known.images["status"].to_pylist()


def test_what_is_fetched_together_is_bounded(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = zipped(photos, tmp_path / "photos.zip")
    monkeypatch.setattr(archives.Archive, "batch_bytes", 3000)
    monkeypatch.setattr(fetching, "_MOST_BYTES", 2500)
    too_large = sum(file.stat().st_size > 2500 for file in below(photos))
    assert 0 < too_large < 6
    files = [
        decoder.File(b"%s/%s" % (os.fsencode(made), name), member.size_bytes, 1)
        for name, member in archives.archive(os.fsencode(made)).members.items()
    ]
    batches = []
    for batch in fetching.fetched(files, Sources((os.fsencode(made),))):
        assert all(os.path.getsize(file.path_raw) == file.size_bytes for file in batch.files)
        batches.append(batch)
    assert sorted(place for batch in batches for place in (*batch.places, *batch.failed)) == list(range(len(files)))
    assert all(len(batch.files) == 1 or sum(file.size_bytes for file in batch.files) <= 3000 for batch in batches)
    assert [decoded.status for batch in batches for decoded in batch.failed.values()] == ["too_large"] * too_large
    assert not any(os.path.exists(file.path_raw) for batch in batches for file in batch.files)


def test_a_full_disk_of_ours_is_one_line_and_no_row(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = zipped(photos, tmp_path / "photos.zip")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    open_ = os.open

    def full(path: object, flags: int, *rest: int, **options: int) -> int:
        if b"/dupegrid-" in os.fsencode(path) and flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(DupegridError, match=r"cannot write to .*: No space left on device; free some space there"):
        dupegrid.index(made, out=tmp_path / "run", **SETTINGS)


@pytest.mark.usefixtures("workers_forked")
def test_an_estimate_and_a_worker_of_its_own(photos: Path, tmp_path: Path) -> None:
    made = zipped(photos, tmp_path / "photos.zip")
    assert dupegrid.estimate(made).images == 9
    settings = SETTINGS | {"scheduler": "processes", "workers": 1}
    assert dupegrid.index(made, out=tmp_path / "run", **settings).images["status"].to_pylist().count("ok") == 6
