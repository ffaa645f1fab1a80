"""A table of a run as parquet, CSV or JSON lines, written to an open file in batches."""

from json.encoder import encode_basestring_ascii
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from dupegrid.results.export.joined import Selection
from dupegrid.storage.ours import MADE_BY

# Columns of matches with no dictionary in parquet, as few values are there twice: that halves the time of writing.
_HARDLY_REPEATED: Final = {"b", "mse", "sse", "score", "path_b", "path_raw_b"}
# What a spreadsheet takes for a formula begins a cell with one of these signs, or with their full-width forms, after
# white space; and a cell begins after a ; or a tab where these part the columns, as they do in some countries. Quotes,
# which that may take off, count as white space. The same in `_FORMULA` of docs/how-to/export.md, for Python.
_FORMULA: Final = r"""(^|[;\t\r\n])((?:[\p{Z}\x0b\x0c\x1c-\x1f\x{85}'"])*[=+\-@＝＋－＠])"""


def write_parquet(selection: Selection, file: IO[bytes]) -> None:
    """The rows as they are in the run, with paths as exact bytes where `path_raw` is among the columns."""
    schema = selection.schema.with_metadata(MADE_BY)
    repeated = [name for name in schema.names if name not in _HARDLY_REPEATED]
    with pq.ParquetWriter(file, schema, write_page_checksum=True, use_dictionary=repeated) as writer:
        for batch in selection.batches():
            writer.write_table(batch.cast(schema))


def write_csv(selection: Selection, file: IO[bytes]) -> None:
    """The rows with a header, text in quotes, null as nothing; columns as `as_text` has them, formulas made text."""
    schema = as_text(selection.schema.empty_table()).schema
    with csv.CSVWriter(file, schema) as writer:
        for batch in selection.batches():
            writer.write_table(formula_safe(as_text(batch)))


def write_json_lines(selection: Selection, file: IO[bytes]) -> None:
    """An object a row and line, in ASCII; columns as `as_text` has them."""
    for batch in selection.batches():
        table = as_text(batch)
        members = [_members(name, table[name]) for name in table.column_names]
        lines = pc.binary_join_element_wise(*members, ",").to_pylist()
        file.write("".join("{" + line + "}\n" for line in lines).encode("ascii"))


def _members(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a column as members of JSON objects; encoding row by row takes three times as long."""
    if pa.types.is_string(column.type):
        texts = [None if text is None else encode_basestring_ascii(text) for text in column.to_pylist()]
        column = pa.chunked_array([pa.array(texts, pa.string())])
    values = column.cast(pa.string()).fill_null("null")
    return pc.binary_join_element_wise(encode_basestring_ascii(name), values, ":")


def as_text(table: pa.Table) -> pa.Table:
    """The same table with times as text, and bytes as hexadecimal digits where they are no UTF-8, else null.

    So `path` is exact where `path_raw` is null, and where it is not `bytes.fromhex(path_raw)` is.
    """
    columns: dict[str, Any] = {}
    for field in table.schema:
        column = table[field.name]
        if pa.types.is_binary(field.type):
            column = hexadecimal(pc.if_else(is_text(column), None, column))
        elif pa.types.is_timestamp(field.type):
            column = column.cast(pa.string())
        columns[field.name] = column
    return pa.table(columns)


def is_text(raw: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which of some bytes are UTF-8; null where they are null."""
    try:
        raw.cast(pa.string())
    except pa.ArrowInvalid:
        known = [None if value is None else _is_utf8(value) for value in raw.to_pylist()]
        return pa.chunked_array([pa.array(known, pa.bool_())])
    return pc.equal(raw, raw)


def formula_safe(table: pa.Table) -> pa.Table:
    """The same table with a ' before each sign in text that would begin a formula: = + - @ and their full-width forms.

    Where it begins the text, or follows a ;, a tab or the end of a line; white space and quotes between do not count.
    """
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            safe = pc.replace_substring_regex(table[place], _FORMULA, r"\1'\2")
            table = table.set_column(place, field, safe)
    return table


def _is_utf8(value: bytes) -> bool:
    return value.decode(errors="ignore").encode() == value


def hexadecimal(raw: pa.ChunkedArray) -> pa.ChunkedArray:
    """Bytes as hexadecimal digits, two each."""
    digits = [value if value is None else value.hex() for value in raw.to_pylist()]
    return pa.chunked_array([pa.array(digits, pa.string())])
