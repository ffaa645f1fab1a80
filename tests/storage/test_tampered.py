"""A run directory that somebody made up, with right digests: one-line errors, soon, in little memory."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import dupegrid
from dupegrid.core.config import load_config
from dupegrid.core.errors import ConfigError, DamagedError
from dupegrid.storage.files import read_json, sealed, write_json
from dupegrid.storage.tables import is_whole, read_group, read_metadata, read_table, write_table
from tests.conftest import save
from tests.helpers.forks import started

SETTINGS: dict[str, Any] = {"quiet": True, "thumb": 8, "scheduler": "sync", "cutoff": 500.0}
# Looks into each run directory it is given in a fork of its own; prints how often each was an error, or how it ended.
LOOK = """
import json, os, resource, signal, sys, dupegrid
from dupegrid.core.errors import DupegridError

def look_into(run):
    said = 0
    for look in (
        lambda: dupegrid.status(run),
        lambda: dupegrid.open_run(run).explain(0, 1),
        lambda: dupegrid.open_run(run).explain(0),
        lambda: dupegrid.open_run(run).summary,
        lambda: dupegrid.open_run(run).show(0),
        lambda: dupegrid.open_run(run).at(10),
        lambda: dupegrid.open_run(run).mse[:2, :2].compute(scheduler="sync"),
        lambda: dupegrid.report(run),
        lambda: dupegrid.cluster(run, threshold=10),
        lambda: dupegrid.compare(run, orientations="none", scheduler="sync", quiet=True),
    ):
        try:
            look()
        except DupegridError as error:
            assert "\\n" not in str(error)
            said += 1
    return said

found = {}
assert look_into(sys.argv[1]) == 0  # a whole one, which loads what each fork would
for name in sys.argv[2:]:
    read, write = os.pipe()
    if os.fork() == 0:
        signal.alarm(60)
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        os.write(write, str(look_into(name)).encode())
        os._exit(0)
    os.close(write)
    ended = os.waitstatus_to_exitcode(os.wait()[1])
    found[os.path.basename(name)] = int(os.read(read, 9)) if ended == 0 else f"ended with {ended}"
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("finished")
    for k in range(6):
        save(folder / f"photos/{k}.png", k // 2)
    return dupegrid.run(folder / "photos", out=folder / "run", **SETTINGS).path


def changed_table(path: Path, **columns: Callable[[pa.Table], Any]) -> None:
    """Write a table again with other values and the facts it had."""
    table = pq.read_table(path)
    for name, values in columns.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values(table), table.schema.field(name).type))
    write_table(path, table, read_metadata(path))


def changed_about(path: Path, **values: Any) -> None:
    """Have a zarr.json say other things, as if they had been written there."""
    about = json.loads((path / "zarr.json").read_text()) | values
    length = about.pop("length", about["shape"][0])
    dtype, chunks = np.dtype(about["data_type"]), about["chunk_grid"]["configuration"]["chunk_shape"]
    facts = {**about["attributes"], "length": length}
    of_array = (about["shape"][1:], chunks, str(dtype), repr(dtype.type(about["fill_value"])))
    (path / "zarr.json").write_text(json.dumps({**about, "attributes": sealed(facts, of_array)}))


def wild_shape(name: str, length: int) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        shape = json.loads((run / name / "zarr.json").read_text())["shape"]
        changed_about(run / name, shape=[length, *shape[1:]])

    return change


def wild_chunks(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        grid = {"name": "regular", "configuration": {"chunk_shape": [10**12, 8, 8, 3]}}
        changed_about(run / name, chunk_grid=grid)

    return change


def other_rows(name: str, dtype: str, *rows: int) -> Callable[[Path], None]:
    """Values of another kind, with chunks of these that are whole: as many bytes, so that nothing else is amiss."""

    def change(run: Path) -> None:
        about = json.loads((run / name / "zarr.json").read_text())
        chunk = about["chunk_grid"]["configuration"]["chunk_shape"][0]
        grid = {"name": "regular", "configuration": {"chunk_shape": [chunk, *rows]}}
        changed_about(run / name, shape=[about["shape"][0], *rows], chunk_grid=grid, data_type=dtype)
        for file in (run / name).glob("c.*"):
            file.rename(run / name / f"{file.name[:3]}{'.0' * len(rows)}")

    return change


def facts_without(name: str, fact: str) -> Callable[[Path], None]:
    """A folder of arrays, or the marks, that say one thing less of themselves."""

    def change(run: Path) -> None:
        about = json.loads((run / name / "zarr.json").read_text())
        facts = {key: value for key, value in about["attributes"].items() if key != fact}
        (run / name / "zarr.json").write_text(json.dumps({**about, "attributes": facts}))
        if "shape" in about:
            changed_about(run / name, length=about["shape"][0])
        else:
            (run / name / "zarr.json").write_text(json.dumps({**about, "attributes": sealed(facts, ())}))

    return change


def a_pipe(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).unlink()
        os.mkfifo(run / name)

    return change


def deep(name: str) -> Callable[[Path], None]:
    return lambda run: (
        (run / name).write_text('{"made_by": "dupegrid", "x": ' + "[" * 200_000 + "]" * 200_000 + "}") and None
    )


def many_rows(run: Path) -> None:
    """A few kilobytes that stand for a billion rows."""
    path = run / "matches.parquet/part-identical.parquet"
    table = pq.read_table(path)
    nulls = pa.table({field.name: pa.nulls(3_000_000, field.type) for field in table.schema})
    with (
        open(path, "wb") as file,
        pq.ParquetWriter(file, nulls.schema.with_metadata({"made_by": "dupegrid"})) as writer,
    ):
        writer.write_table(nulls)


def other_images(rows: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        path = run / "images.parquet"
        write_table(path, rows(pq.read_table(path)), read_metadata(path))

    return change


def claims_more(name: str) -> Callable[[Path], None]:
    """The end of a parquet file says that it has more rows than its row groups have."""

    def change(run: Path) -> None:
        path = run / name
        data, rows = path.read_bytes(), pq.read_metadata(path).num_rows
        start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        place = data.index(bytes([0x16, 2 * rows]), start)  # a field of the metadata, before its row groups
        path.write_bytes(data[: place + 1] + bytes([2 * rows + 10]) + data[place + 2 :])
        assert pq.read_metadata(path).num_rows == rows + 5

    return change


def settings_of(**values: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        saved = read_json(run / "run.json")
        write_json(run / "run.json", {**saved, **values})

    return change


TAMPERED: dict[str, Callable[[Path], None]] = {
    "ids that are not there": lambda run: changed_table(run / "clusters.parquet", image=lambda t: [10**12] * len(t)),
    "keepers below 0": lambda run: changed_table(run / "clusters.parquet", keeper=lambda t: [-5] * len(t)),
    "cluster numbers": lambda run: changed_table(run / "clusters.parquet", cluster=lambda t: [10**15] * len(t)),
    "roots that are not there": lambda run: changed_table(run / "images.parquet", root=lambda t: [1] * len(t)),
    "a root below 0": lambda run: changed_table(run / "images.parquet", root=lambda t: [0] * (len(t) - 1) + [-1]),
    "rules that there are none": lambda run: changed_table(run / "clusters.parquet", rule=lambda t: ["x"] * len(t)),
    "reasons that there are none": lambda run: changed_table(run / "clusters.parquet", reason=lambda t: ["x"] * len(t)),
    "representatives": lambda run: changed_table(run / "images.parquet", identical_to=lambda t: [10**12] * len(t)),
    "ids of images": lambda run: changed_table(run / "images.parquet", id=lambda t: [7] * len(t)),
    "no size": lambda run: changed_table(run / "images.parquet", width=lambda t: [0] * len(t)),
    "no path": lambda run: changed_table(run / "images.parquet", path_raw=lambda t: [None] * len(t)),
    "no path beside one that is not UTF-8": lambda run: changed_table(
        run / "images.parquet", path_raw=lambda t: [b"\xff", *[None] * (len(t) - 1)]
    ),
    "matches of no image": lambda run: (
        [changed_table(p, a=lambda t: [None] * len(t)) for p in (run / "matches.parquet").glob("part-0*")] and None
    ),
    "clusters of no path": lambda run: changed_table(run / "clusters.parquet", path_raw=lambda t: [None] * len(t)),
    "matches": lambda run: (
        [
            changed_table(p, b=lambda t: pc.add(t["b"], 10**12).to_pylist())
            for p in (run / "matches.parquet").glob("part-0*")
        ]
        and None
    ),
    "a trillion thumbnails": wild_shape("thumbs.zarr", 10**12),
    "more thumbnails than there are": wild_shape("thumbs.zarr", 10**5),
    "a chunk of terabytes": wild_chunks("thumbs.zarr"),
    "a trillion cosines": wild_shape("levels.zarr/cosines", 10**12),
    "a trillion strips": wild_shape("tiles.zarr", 10**12),
    "thumbnails of no length": lambda run: changed_about(run / "thumbs.zarr", length=None),
    "thumbnails fewer than none": lambda run: changed_about(run / "thumbs.zarr", length=-1),
    "matches in the index": lambda run: (
        shutil.copy(next((run / "matches.parquet").glob("part-0*")), run / "index/part-000000.parquet") and None
    ),
    "a trillion in order": wild_shape("sorted.zarr/order", 10**12),
    "every image twice": other_images(lambda images: pa.concat_tables([images, images])),
    "half of the images": other_images(lambda images: images.slice(0, 3)),
    "no images": other_images(lambda images: images.slice(0, 0)),
    "images of no folder": lambda run: changed_table(run / "images.parquet", device=lambda t: [None] * len(t)),
    "images fewer than claimed": claims_more("images.parquet"),
    "clusters fewer than claimed": claims_more("clusters.parquet"),
    "thumbnails below 0": other_rows("thumbs.zarr", "int8", 8, 8, 3),
    "flat thumbnails": other_rows("thumbs.zarr", "uint8", 192),
    "other sides": other_rows("thumbs.zarr", "uint8", 4, 4, 12),
    "unsigned cosines": other_rows("levels.zarr/cosines", "uint16", 196),
    "cosines in squares": other_rows("levels.zarr/cosines", "int16", 14, 14),
    "an order of fractions": other_rows("sorted.zarr/order", "float64", 3),
    "an order in squares": other_rows("sorted.zarr/order", "int64", 3, 1),
    "marks in fractions": lambda run: changed_about(run / "tiles.zarr", data_type="float64", fill_value=-1.0),
    "no arrays of cosines": facts_without("levels.zarr", "arrays"),
    "cosines without a length": facts_without("levels.zarr", "length"),
    "an order without a length": facts_without("sorted.zarr", "length"),
    "an order without its chunks": facts_without("sorted.zarr", "chunks"),
    "marks that say no number of tiles": facts_without("tiles.zarr", "tiles"),
    "a pipe for a chunk": a_pipe("thumbs.zarr/c.0.0.0.0"),
    "a pipe for cosines": a_pipe("levels.zarr/cosines/c.0.0"),
    "a pipe for a table": a_pipe("images.parquet"),
    "a pipe for zarr.json": a_pipe("tiles.zarr/zarr.json"),
    "deep run.json": deep("run.json"),
    "deep receipt.json": deep("receipt.json"),
    "rows for terabytes": many_rows,
    "format of another kind": settings_of(format="2"),
    "settings of another kind": settings_of(config=[1, 2]),
    "a fingerprint of another kind": settings_of(fingerprint={"a": 1}),
    "an older format": settings_of(format=1),
    "a newer format": settings_of(format=99),
}


@pytest.fixture(scope="module")
def looks(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int | str]:
    """How often each tampered run directory was a one-line error, or how the process ended that looked into it."""
    folder = tmp_path_factory.mktemp("tampered")
    whole = shutil.copytree(finished, folder / "whole")
    for what, tamper in TAMPERED.items():
        tamper(shutil.copytree(finished, folder / what))
    found = folder / "found"
    with started(LOOK, whole, *(folder / what for what in TAMPERED), out=found, err=folder / "said") as process:
        process.join()
    print((folder / "said").read_text())
    return json.loads(found.read_text())


@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_run_directory_is_a_line_soon_and_in_little_memory(looks: dict[str, int | str], what: str) -> None:
    said = looks[what]
    assert isinstance(said, int), said
    assert said > 0 or what in (
        "a trillion strips",
        "a trillion in order",
        "matches in the index",
        "an order of fractions",
        "an order in squares",
        "an order without a length",
        "an order without its chunks",
    )  # which are made again


def test_aliases_in_a_file_of_settings_are_refused(tmp_path: Path) -> None:
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{k}: &a{k + 1} [{', '.join([f'*a{k}'] * 9)}]" for k in range(12)]
    (tmp_path / "bomb.yaml").write_text("\n".join([*lines, "extensions: *a12"]))
    with pytest.raises(ConfigError, match="alias"):
        load_config(tmp_path / "bomb.yaml")


@pytest.mark.parametrize(
    "made_up",
    [
        {"image": [1]},
        {"image": ["one"], "keeper": [1]},
        {"image": [1.5], "keeper": [1]},
    ],
)
@pytest.mark.parametrize("group", [False, True])
def test_a_table_of_other_columns_or_types_is_damaged(tmp_path: Path, made_up: dict[str, Any], group: bool) -> None:
    path, wanted = tmp_path / "table.parquet", pa.schema([("image", pa.int64()), ("keeper", pa.int64())])
    write_table(path, pa.table(made_up))
    with pytest.raises(DamagedError):
        read_group(path, 0, wanted, wanted.names) if group else read_table(path, wanted)
    assert group or not is_whole(path, wanted, 1)


def test_what_is_read_has_no_facts_of_its_file(tmp_path: Path) -> None:
    """So what is made from it is the same from whichever file it comes."""
    path, table = tmp_path / "table.parquet", pa.table({"image": [1, 2]})
    write_table(path, table, {"fingerprint": "of this file"})
    assert read_table(path, table.schema).schema.metadata is None


@pytest.mark.parametrize("length", [-1, 10**30])
def test_cosines_of_a_length_that_is_none_are_made_again(tmp_path: Path, length: int) -> None:
    """Beside thumbnails that are damaged, and would be described anew by that length."""
    save(tmp_path / "photos/a.png", 1)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", quiet=True, scheduler="sync", thumb=16)
    levels, thumbs = (run.path / name / "zarr.json" for name in ("levels.zarr", "thumbs.zarr"))
    about = json.loads(levels.read_text())
    facts = sealed(about["attributes"] | {"length": length}, ())
    levels.write_text(json.dumps(about | {"attributes": facts}))
    thumbs.write_text(json.dumps(json.loads(thumbs.read_text()) | {"shape": [1, 8, 8, 3]}))
    assert dupegrid.run(tmp_path / "photos", out=run.path, quiet=True, scheduler="sync", thumb=16).summary.ok == 1
