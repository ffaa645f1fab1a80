"""Questions of a run, as functions and as verbs: planted copies, files that are written, what is refused."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dupegrid
from dupegrid.app.command.answer_files import as_csv
from dupegrid.app.command.lines import status_lines
from dupegrid.app.command.lines_ask import verdict_line
from dupegrid.core.errors import StoreError, UsageError
from dupegrid.core.text import size_text
from dupegrid.results import schemas
from dupegrid.results.questions.leakage import Leakage
from dupegrid.storage.files import read_json
from dupegrid.storage.ours import remove
from tests.conftest import ROOT, SHARED, picture, save
from tests.helpers.forks import command

Copy = tuple[str, str, str]  # the split it goes to, its label there, the picture that it is of


def drawn_splits(folder: Path) -> list[Copy]:
    """Pictures of two splits and two labels; copies of three in the other split, one by another label."""
    for k in range(12):
        save(folder / ("train" if k < 8 else "test") / ("cat" if k % 2 else "dog") / f"{k}.png", k)
    return [("test", "dog", "train/dog/0.png"), ("test", "cat", "train/dog/2.png"), ("test", "cat", "train/cat/3.png")]


def cifar_splits(folder: Path) -> list[Copy]:
    """400 pictures of CIFAR-10, ten labels, cut in two; 100 copies of those of training, 20 by another label."""
    if not (SHARED / "data/cifar10-test.tar").is_file():
        pytest.skip("no CIFAR-10 beside this checkout (../shared/data/cifar10-test.tar)")
    originals: list[tuple[str, str]] = []
    with tarfile.open(SHARED / "data/cifar10-test.tar") as tar:
        for member in tar:
            _, label, name = member.name.split("/")
            if int(name.removesuffix(".jpg")) < 40:
                split = "test" if int(name.removesuffix(".jpg")) % 2 else "train"
                (folder / split / label).mkdir(parents=True, exist_ok=True)
                (folder / split / label / name).write_bytes(tar.extractfile(member).read())
                if split == "train":
                    originals.append((label, f"{split}/{label}/{name}"))
    labels = sorted({label for label, _ in originals})
    other = dict(zip(labels, labels[1:] + labels[:1], strict=True))
    chosen = originals[::2]
    return [("test", other[label] if k % 5 == 0 else label, name) for k, (label, name) in enumerate(chosen)]


def with_copies(folder: Path, copies: list[Copy]) -> None:
    """Copies of bytes, saved again as PNG, saved again as JPEG: by turns."""
    for k, (split, label, name) in enumerate(copies):
        to = folder / split / label / f"copy {k}"
        to.parent.mkdir(parents=True, exist_ok=True)
        if k % 3 == 0:
            shutil.copy(folder / name, to)
            continue
        with Image.open(folder / name) as image:
            image.save(to, format="PNG" if k % 3 == 1 else "JPEG", quality=92)


@pytest.fixture(scope="module", params=[drawn_splits, cifar_splits], ids=["drawn", "cifar"])
def planted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dupegrid.Run, list[Copy]]:
    folder = tmp_path_factory.mktemp("splits") / "data"
    plant: Callable[[Path], list[Copy]] = request.param
    copies = plant(folder)
    with_copies(folder, copies)
    return dupegrid.run(folder, out=folder.parent / "run", quiet=True, scheduler="sync"), copies


def relative(run: dupegrid.Run, path: str) -> str:
    return str(Path(path).relative_to(run.config.roots[0]))


def test_planted_leakage_is_found_exactly(planted: tuple[dupegrid.Run, list[Copy]]) -> None:
    run, copies = planted
    pairs = {(name, f"{split}/{label}/copy {k}") for k, (split, label, name) in enumerate(copies)}
    wrong = {pair for pair in pairs if Path(pair[0]).parent.name != Path(pair[1]).parent.name}
    assert len(wrong) in (1, 20)
    images = [relative(run, path) for path in run.images["path"].to_pylist()]
    train, test = (sum(name.startswith(split) for name in images) for split in ("train", "test"))
    for keep in ("train", "test", "neither"):
        found = dupegrid.leakage(run, label="folders", keep=keep)
        assert found.training == "train"
        matrix = {
            (row["split_a"], row["split_b"]): (row["pairs"], row["images_a"], row["images_b"])
            for row in found.matrix.to_pylist()
        }
        assert matrix == {
            ("train", "train"): (0, 0, 0),
            ("train", "test"): (len(pairs),) * 3,
            ("test", "test"): (0, 0, 0),
        }
        assert [row["images"] for row in found.splits.to_pylist()] == [train, test]
        assert found.worst_percent == pytest.approx(100 * len(pairs) / test)
        rows = found.conflicts.to_pylist()
        assert {tuple(sorted((relative(run, row["path_a"]), relative(run, row["path_b"])))) for row in rows} == {
            tuple(sorted(pair)) for pair in wrong
        }
        dropped = {relative(run, row["path"]) for row in found.images.to_pylist() if row["action"] == "drop"}
        gone = {"train": {1}, "test": {0}, "neither": {0, 1}}[keep]
        assert dropped == {pair[side] for pair in pairs for side in gone}
        group = {relative(run, row["path"]): row["group"] for row in found.images.to_pylist()}
        assert len(set(group.values())) == len(images) - len(pairs)
        assert all(group[a] == group[b] for a, b in pairs)
        (full,) = (row for row in found.curve.to_pylist() if row["threshold"] == run.config.cutoff)
        assert full["leaking"] == len(pairs)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    """The drawn splits with their copies, a name that is not UTF-8, one with a line break, one that is a formula."""
    folder = tmp_path_factory.mktemp("asked") / "data"
    with_copies(folder, drawn_splits(folder))
    for k, name in enumerate((b"\xff\xfe.png", b"two\nlines.png", b"=1+1\x1b[31m.png"), 20):
        path = os.fsencode(folder / "test/dog") + b"/" + name
        with open(path, "wb") as file:
            picture(k).save(file, "PNG")
    return dupegrid.run(folder, out=folder.parent / "run", quiet=True, scheduler="sync", thumb=16)


def written(run: dupegrid.Run, name: str, text: str | bytes) -> Path:
    path = run.path.parent / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_splits_by_a_file_are_those_by_folders(run: dupegrid.Run) -> None:
    by_folder = dupegrid.leakage(run, label="folders")
    paths = run.images["path_raw"].to_pylist()
    rows = [b"file_name,split,fold,class"]
    for path in paths:
        split, label, name = path.split(b"/")[-3:]
        quoted = b'"' + b"/".join((split, label, name)) + b'"'
        rows.append(b",".join((quoted, split, b"x" + split, label)))
    manifest = written(run, "splits.csv", b"\n".join([*rows, b"gone.jpg,test,xtest,cat"]) + b"\n")
    by_file = dupegrid.leakage(run, split=manifest, label="class")
    assert by_file.unknown == 1
    assert by_file.images.equals(by_folder.images)
    assert by_file.conflicts.equals(by_folder.conflicts)
    assert by_file.as_dict() == {**by_folder.as_dict(), "unknown": 1}
    by_column = dupegrid.leakage(run, split=f"{manifest}:fold", label=f"{manifest}:class")
    assert by_column.splits["split"].to_pylist() == ["xtest", "xtrain"]  # the larger one, as neither says train
    by_images = dupegrid.leakage(run, split="format", label="mode")  # columns of images.parquet
    sizes = dict(zip(*(by_images.splits[name].to_pylist() for name in ("split", "images")), strict=True))
    formats = [row["format"] for row in run.images.to_pylist() if row["status"] == "ok"]
    assert sizes == {name: formats.count(name) for name in set(formats)}
    frame = pa.table({"path": pa.array(paths, pa.binary()), "split": [p.split(b"/")[-3].decode() for p in paths]})
    assert dupegrid.leakage(run, split=frame, label="folders").images.equals(by_folder.images)


@pytest.mark.parametrize(
    ("split", "label", "problem"),
    [
        ("nowhere.csv", None, r"split is 'nowhere\.csv', which is no file"),
        ("folders", "nowhere", "label is 'nowhere', which is no file"),
        ("a,b\n1,2\n", None, "has no column 'path_raw' or 'path'"),
        ("path,b\n1,2\n", None, "has no column 'split': its columns are path, b"),
        ("path,split\nnothing.png,test\n", None, "names no picture of this run"),
        ("path,split\n0.png,test\n", None, "the pictures have 1 split "),
        ("path,split\n0.png,test\n0.png,train\n", None, "is in two rows"),
    ],
)
def test_a_split_that_is_none_is_one_line(run: dupegrid.Run, split: str, label: str | None, problem: str) -> None:
    source = written(run, "bad.csv", split) if "\n" in split else split
    with pytest.raises(UsageError, match=problem):
        dupegrid.leakage(run, split=source, label=label)
    with pytest.raises(UsageError, match="keep is 'all'"):
        dupegrid.leakage(run, keep="all")


def test_the_verb_writes_tables_and_exits_with_3(run: dupegrid.Run, tmp_path: Path) -> None:
    out = tmp_path / "new/leak"
    words = ("leakage", run.path, "--label", "folders", "--out", out, "--max-leakage")
    done = command(*words, "29.9")
    assert (done.returncode, done.stderr) == (3, "")
    assert "3 (30.00 %) leak from training" in done.stdout
    assert "train - test: 3 pairs" in done.stdout
    assert "30.00 % of an evaluation split leak from training: over --max-leakage 29.9\n" in done.stdout
    again = command(*words, "30", "--json")
    assert again.returncode == 0
    found: Leakage = dupegrid.leakage(run, label="folders")
    assert json.loads(again.stdout) == found.as_dict() == read_json(out / "leakage.json")
    for name, table in found.tables.items():
        assert pq.read_table(out / f"{name}.parquet").equals(table)
        assert pacsv.read_csv(
            out / f"{name}.csv", parse_options=pacsv.ParseOptions(newlines_in_values=True)
        ).num_rows == len(table)
    (out / "leakage.json").unlink()
    assert "nothing of yours is replaced" in command(*words, "60").stderr
    for place in (run.path / "leak", Path(run.config.roots[0]) / "leak"):
        assert "lies inside" in command("leakage", run.path, "--out", place).stderr
        assert not place.exists()


@pytest.mark.parametrize(
    ("percent", "most", "said"),
    [(5.004, 5, "5.004 %"), (4.996, 5, "5.00 %"), (5.0, 5, "5.00 %"), (30.0, 29.9, "30.00 %"), (1e-20, 0, "1e-20 %")],
)
def test_the_verdict_has_the_digits_that_it_rests_on(percent: float, most: float, said: str) -> None:
    line = verdict_line(percent, most)
    assert f" {said} of" in line
    assert (": over " in line) == (percent > most)


def test_csv_holds_no_formula_and_every_line() -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\t=1", "a=1", 'a,"b"\n', None, "ü"]
    table = pa.table({"a": texts, "raw": pa.array([b"x"] * 9, pa.binary()), "n": [-1.5] * 9})
    rows = pacsv.read_csv(
        io.BytesIO(as_csv(table)),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    )
    assert rows["a"].to_pylist() == ["'=1+1", "'+1", "'-1", "'@x", "\t'=1", *texts[5:]]
    assert rows["n"].to_pylist() == [-1.5] * 9
    assert rows.column_names == ["a", "n"]


@pytest.fixture(scope="module")
def against(run: dupegrid.Run) -> dupegrid.Run:
    """The split of testing against that of training."""
    data = Path(run.config.roots[0])
    out = run.path.parent / "against"
    return dupegrid.run(data / "test", against=data / "train", out=out, quiet=True, scheduler="sync", thumb=16)


def test_what_is_on_one_side_only_is_listed(against: dupegrid.Run, tmp_path: Path) -> None:
    new = dupegrid.unique(against, of=against.config.paths)
    assert sorted(os.path.basename(path) for path in new["path_raw"].to_pylist()) == sorted(
        [b"8.png", b"9.png", b"10.png", b"11.png", b"\xff\xfe.png", b"two\nlines.png", b"=1+1\x1b[31m.png"]
    )
    assert set(new["group"].to_pylist()) == {"a"}
    assert len(dupegrid.unique(against)) == len(new) + len(dupegrid.unique(against, of=[against.config.against[0]]))
    words = ("unique", against.path, "--of", against.config.paths[0] + "/", "--list", tmp_path / "list")
    broken = command(*words)
    assert (broken.returncode, broken.stderr.count("\n")) == (2, 1)
    assert "line break" in broken.stderr
    done = command(*words, "--null", "--json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "list").read_bytes() == b"".join(path + b"\0" for path in new["path_raw"].to_pylist())
    rows = json.loads(done.stdout)["unique"]
    assert [os.fsencode(row["path_raw"]) for row in rows] == new["path_raw"].to_pylist()
    assert "is there already" in command(*words, "--null").stderr
    again = dupegrid.run(out=tmp_path / "again", files_from=tmp_path / "list", quiet=True, scheduler="sync", thumb=16)
    assert sorted(again.images["path_raw"].to_pylist()) == sorted(new["path_raw"].to_pylist())
    with pytest.raises(UsageError, match="is no PATH of this run"):
        dupegrid.unique(against, of=tmp_path)


def test_files_that_an_answer_says_nothing_of_are_counted_with_it(tmp_path: Path) -> None:
    """A folder whose pictures are all elsewhere may hold a film that is not."""
    for name in ("a/1.png", "b/1.png"):
        save(tmp_path / "in" / name, 1)
    (tmp_path / "in/a/film.mov").write_bytes(b"film")
    out = tmp_path / "run"
    dupegrid.run(tmp_path / "in", out=out, thumb=8, scheduler="sync", quiet=True)
    for verb in ("folders", "unique"):
        last = command(verb, out).stdout.splitlines()[-1]
        assert json.loads(command(verb, out, "--json").stdout)["not_read"] == {"unidentified": 1}
        assert last == f"not read: 1 unidentified, which are in no count: see dupegrid status {out}"
    (tmp_path / "in/a/film.mov").unlink()
    dupegrid.run(tmp_path / "in", out=out, thumb=8, scheduler="sync", quiet=True)
    assert "not read" not in command("folders", out).stdout


def test_what_was_not_compared_is_no_answer(against: dupegrid.Run, tmp_path: Path) -> None:
    assert dupegrid.leakage(against).matrix["pairs"].to_pylist() == [0, 3, 0]
    with pytest.raises(UsageError, match="did not compare all pictures of different splits"):
        dupegrid.leakage(against, split=pa.table({"path": ["8.png", "9.png"], "split": ["train", "test"]}))
    within = dupegrid.run(*against.config.roots, out=tmp_path / "within", scope="within", quiet=True, thumb=16)
    with pytest.raises(UsageError, match="compared no pair across its PATHs"):
        dupegrid.unique(within)
    indexed = dupegrid.index(*against.config.roots, out=tmp_path / "indexed", quiet=True, thumb=16)
    for ask in (dupegrid.folders, dupegrid.unique, dupegrid.top, dupegrid.leakage):
        with pytest.raises(StoreError):
            ask(indexed)


def test_the_largest_savings_add_up_to_the_summary(run: dupegrid.Run, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for k in range(3):
        save(photos / f"{k}.png", k)
        save(photos / f"{k} smaller.jpg", k, quality=50)
    (photos / "link.jpg").hardlink_to(photos / "0 smaller.jpg")
    (photos / "1 link.png").hardlink_to(photos / "1.png")
    linked = dupegrid.run(photos, out=tmp_path / "run", quiet=True, scheduler="sync", thumb=16)
    for asked in (linked, run):
        rows = dupegrid.top(asked).to_pylist()
        assert sum(row["freed_bytes"] for row in rows) == asked.summary.duplicate_bytes > 0
        assert [row["freed_bytes"] for row in rows] == sorted((row["freed_bytes"] for row in rows), reverse=True)
        assert len(rows) == asked.summary.clusters
        assert sum(row["duplicates"] for row in rows) == asked.summary.duplicates
        assert all(row["images"] == 1 + row["duplicates"] + row["bridges"] for row in rows)
    # One of the two names of a file is kept; both names of another file are duplicates, which is one file.
    counts = [(row["images"], row["duplicates"], row["freed_files"]) for row in dupegrid.top(linked).to_pylist()]
    assert sorted(counts) == [(2, 1, 1), (3, 2, 1), (3, 2, 1)]
    # What stays under a name that is protected is not freed by its other name.
    bridge = dupegrid.cluster(linked.path, keep="lossless", protect=[photos / "link.jpg", photos / "0.png"])
    found = {row["path"]: row for row in dupegrid.top(bridge).to_pylist()}[str(photos / "0.png")]
    assert (found["duplicates"], found["bridges"], found["freed_files"], found["freed_bytes"]) == (1, 1, 0, 0)
    rows = dupegrid.top(bridge).to_pylist()
    assert sum(row["freed_bytes"] for row in rows) == bridge.summary.duplicate_bytes
    for row in rows:  # a contact sheet says the same
        assert f"pictures, {size_text(row['freed_bytes'])} would be freed</h3>" in bridge.show(row["cluster"]).html


def test_evaluate_takes_ids_and_paths_of_a_run_and_of_a_table(run: dupegrid.Run) -> None:
    names = ["train/dog/0.png", "copy 0", "train/dog/2.png", "copy 1", "8.png", "9.png"]
    paths = written(
        run, "truth.csv", "path_a,path_b\n" + "\n".join(map(",".join, zip(names[::2], names[1::2], strict=True)))
    )
    by_path = dupegrid.evaluate(run, paths)
    last = by_path.to_pylist()[-1]
    assert (last["found"], last["correct"], last["missed"]) == (3, 2, 1)
    every = [relative(run, path) for path in run.images["path"].to_pylist()]
    ids = [next(id for id, path in enumerate(every) if path.endswith(name)) for name in names]
    by_id = pa.table({"a": ids[::2], "b": ids[1::2]})
    assert dupegrid.evaluate(run, by_id).equals(by_path)
    assert dupegrid.evaluate(str(run.path), by_id).equals(by_path)
    assert dupegrid.evaluate(run.matches, by_id).equals(by_path)
    assert dupegrid.evaluate(run.matches.to_pandas(), by_id).equals(by_path)
    with pytest.raises(UsageError, match="NoneType is no table"):
        dupegrid.evaluate(None, by_id)
    assert dupegrid.evaluate(run.matches, paths).equals(by_path)
    assert command("evaluate", run.path, paths).stdout.count("\n") == 1 + len(by_path)
    with pytest.raises(UsageError, match=r"names 'nobody\.png', which is no image"):
        dupegrid.evaluate(run, {"a": ["8.png"], "b": ["nobody.png"]})


def test_a_run_without_pictures_has_empty_answers(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    indexed = dupegrid.index(tmp_path / "photos", out=tmp_path / "run", quiet=True, scheduler="sync")
    assert status_lines(dupegrid.status(indexed.path))[:2] == ["index    0 of 0 images", "compare  to do"]
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", quiet=True, scheduler="sync")
    said = {
        dupegrid.folders: "no two folders hold the same pictures",
        dupegrid.unique: "0 pictures without a near duplicate",
        dupegrid.top: "0 bytes in 0 files of 0 clusters",
    }
    for ask, words in said.items():
        assert len(ask(run)) == 0
        assert ask(run.path).equals(ask(run))
        assert command(ask.__name__, run.path).stdout == f"{words}\n"
    assert "the pictures have 0 splits" in command("leakage", run.path).stderr
    (tmp_path / "photos/train").mkdir()
    save(tmp_path / "photos/train/one.png", 1)
    one = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", quiet=True, scheduler="sync")
    assert dupegrid.unique(one)["image"].to_pylist() == [0]
    assert json.loads(command("folders", one.path, "--json").stdout) == {"folders": [], "not_read": {}}
    save(tmp_path / "photos/train/two.png", 1)
    (tmp_path / "none").mkdir()
    roots = tmp_path / "photos", tmp_path / "none"
    sides = dupegrid.run(*roots, out=tmp_path / "sides", quiet=True, scheduler="sync")
    assert dupegrid.unique(sides)["image"].to_pylist() == [0, 1]  # the other PATH holds neither, as it holds nothing
    remove(one.run_dir.clusters)
    assert command("top", one.path).returncode == 1


@pytest.mark.parametrize(
    ("page", "name"),
    [
        *(("folders", name) for name in ("FOLDERS", "UNIQUE", "TOP", "EVALUATION")),
        *(("leakage", f"LEAKAGE_{name}") for name in ("SPLITS", "MATRIX", "CURVE", "CONFLICTS", "IMAGES")),
    ],
)
def test_a_page_says_what_each_column_is(page: str, name: str) -> None:
    lines = (ROOT / f"docs/how-to/{page}.md").read_text().splitlines()
    tables = "\n".join(lines).split("| column | what |")[1:]
    first = [line.split("|")[1] for table in tables for line in table.splitlines() if line.startswith("| ")]
    assert set(getattr(schemas, name).names) <= set(", ".join(first).replace(" ", "").split(","))


def test_what_is_not_in_the_archive_is_listed_when_the_run_is_done(against: dupegrid.Run, tmp_path: Path) -> None:
    (new,), (archive,) = against.config.paths, against.config.against
    words = ("run", new, "--against", archive, "--out", tmp_path / "run", "--thumb", "16")
    listed, unlisted = tmp_path / "new", command(*words)
    said = command(*words, "--list-new", listed)
    names = dupegrid.unique(against, [new])["path_raw"].to_pylist()
    assert listed.read_bytes() == b"".join(name + b"\0" for name in names), "a line break in a name ends no path"
    assert said.stdout == unlisted.stdout + f"new         {len(names)} pictures of PATH, listed in {listed}\n"
    assert "is there already" in command(*words, "--list-new", listed).stderr
    assert "give --against" in command("run", new, "--out", tmp_path / "other", "--list-new", tmp_path / "x").stderr
