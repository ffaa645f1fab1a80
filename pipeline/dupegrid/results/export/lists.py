"""What a run found, as other tools read it: lists of duplicates, of pictures with their clusters, a script."""

import json
import os
from collections.abc import Callable, Mapping
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from dupegrid.core.arrays import Bools
from dupegrid.core.errors import UsageError
from dupegrid.core.text import display_path, printable
from dupegrid.results.export.joined import RunTables, selected
from dupegrid.results.export.tables import formula_safe, is_text

IsFile = Callable[[bytes], bool]  # whether a path is that of a file here, and not in an archive or a bucket
Counts = dict[str, int]  # how many of what were written, and left out for which reason

# Quoted, it is text for the shell: nothing in a name is run, and no name is taken for an option, as paths begin with /.
_SCRIPT: Final = r"""#!/bin/sh
# Duplicates that dupegrid found, each with the picture to keep: {run}
#
# As it stands this prints one line a duplicate and changes nothing. What becomes of a duplicate is up to the function
# below, where "$1" is the duplicate and "$2" the picture to keep; put what you want in the place of printf, such as
#
#     mv -n -- "$1" /somewhere/else/
#
# It is not called where either of the two is no longer a file, or both are names of one.

duplicate() {{
    printf '%s\n    is a duplicate of %s\n' "$1" "$2"
}}

d() {{
    if [ -f "$1" ] && [ -f "$2" ] && ! [ "$1" -ef "$2" ]; then duplicate "$1" "$2"; fi
}}

"""


def write_difpy(tables: RunTables, file: IO[bytes]) -> Counts:
    """The result of difPy 4, as its search gives it: JSON of {keeper: [[duplicate, mse], ...]}.

    Bytes of a path that are no UTF-8 are lone surrogates, as in difPy: `os.fsencode` gives the path.
    """
    rows = _duplicates(tables, "path_raw", "keeper_path_raw", "mse_to_keeper")
    result: dict[str, list[list[Any]]] = {}
    for path, keeper, mse in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        result.setdefault(os.fsdecode(keeper), []).append([os.fsdecode(path), mse])
    file.write(json.dumps(result, indent=2).encode("ascii") + b"\n")
    return {"duplicates": len(rows), "keepers": len(result)}


def write_duplicates(tables: RunTables, file: IO[bytes]) -> Counts:
    """CSV of `duplicate,keeper`: their paths."""
    rows = _duplicates(tables, "path", "keeper_path", "path_raw", "keeper_path_raw")
    text = pc.and_(is_text(rows["path_raw"]), is_text(rows["keeper_path_raw"]))
    named = rows.filter(text).select(["path", "keeper_path"]).rename_columns(["duplicate", "keeper"])
    csv.write_csv(formula_safe(named), file)
    return {"duplicates": len(named), "left_out_not_utf8": len(rows) - len(named)}


def write_script(tables: RunTables, file: IO[bytes], is_file: IsFile, run: str) -> Counts:
    """A script for any POSIX shell, which prints the duplicates unless its function is written anew; exact bytes."""
    rows = _duplicates(tables, "path_raw", "keeper_path_raw")
    pairs = list(zip(*(column.to_pylist() for column in rows.columns), strict=True))
    here = [pair for pair in pairs if all(map(is_file, pair))]
    file.write(_SCRIPT.format(run=printable(run)).encode("utf-8", "backslashreplace"))
    file.writelines(b"d %s %s\n" % (_quoted(path), _quoted(keeper)) for path, keeper in here)
    return {"duplicates": len(here), "left_out_no_file": len(pairs) - len(here)}


def write_fiftyone(tables: RunTables, file: IO[bytes], is_file: IsFile) -> Counts:
    """CSV for FiftyOne's CSVDataset: `filepath`, and of its cluster the columns of clusters.parquet and the keeper."""
    rows, counts = _pictures(tables, is_file)
    csv.write_csv(rows.rename_columns({"path": "filepath", "keeper_path": "keeper"}), file)
    return counts


def write_huggingface(tables: RunTables, file: IO[bytes], is_file: IsFile, folder: str) -> Counts:
    """metadata.csv of Hugging Face's imagefolder: `file_name` as seen from the folder that it is to lie in.

    UsageError where no picture is below that folder. A name that would begin a formula begins with ./ instead.
    """
    rows, counts = _pictures(tables, is_file)
    start = display_path(os.fsencode(folder)).rstrip("/") + "/"
    below = pc.starts_with(rows["path"], start)
    if not pc.any(below).as_py():
        raise UsageError(
            f"no picture of the run is below {printable(folder)}: name the folder where the file is to lie with --under"
        )
    counts["images"], counts["left_out_elsewhere"] = pc.sum(below).as_py(), pc.sum(pc.invert(below)).as_py()
    rows = rows.filter(below)

    def relative(path: pa.ChunkedArray) -> pa.ChunkedArray:
        inside = pc.utf8_slice_codeunits(path, len(start))
        return pc.if_else(
            pc.match_substring_regex(inside, r"^\w"), inside, pc.binary_join_element_wise("./", inside, "")
        )

    keeper = pc.if_else(pc.starts_with(rows["keeper_path"], start), relative(rows["keeper_path"]), rows["keeper_path"])
    rows = rows.set_column(0, "file_name", relative(rows["path"]))
    csv.write_csv(rows.set_column(rows.column_names.index("keeper_path"), "keeper", keeper), file)
    return counts


def _duplicates(tables: RunTables, *columns: str) -> pa.Table:
    """These columns of the duplicates, by cluster."""
    rows = selected("clusters", [*columns, "role"], tables)
    parts = (batch.filter(pc.field("role") == "duplicate") for batch in rows.batches())
    return pa.concat_tables([rows.schema.empty_table(), *parts]).drop_columns(["role"])


def _pictures(tables: RunTables, is_file: IsFile) -> tuple[pa.Table, Counts]:
    """The pictures that were read and that other tools can open by a path, with their cluster."""
    columns = ("path", "cluster", "role", "keeper_path", "mse_to_keeper", "path_raw", "status")
    rows = selected("images", columns, tables).whole()
    rows = rows.filter(pc.equal(rows["status"], "ok"))
    text = is_text(rows["path_raw"]).to_numpy().astype(bool)
    here: Bools = np.array([is_file(path) for path in rows["path_raw"].to_pylist()], bool)
    counts = {
        "images": int((text & here).sum()),
        "left_out_not_utf8": int((here & ~text).sum()),
        "left_out_no_file": int((~here).sum()),
    }
    return rows.filter(pa.array(text & here)).drop_columns(["path_raw", "status"]), counts


def _quoted(path: bytes) -> bytes:
    return b"'" + path.replace(b"'", rb"'\''") + b"'"


def shown_counts(counts: Mapping[str, int]) -> Counts:
    """The counts; of those that say what was left out, only the ones that are not 0."""
    return {name: count for name, count in counts.items() if count or not name.startswith("left_out")}
