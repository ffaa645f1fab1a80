"""Tables that a caller gives: CSV with whatever names, parquet, frames; and what is refused."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dupegrid.app.given_tables import as_bytes, as_text, column_of, given_table
from dupegrid.core.errors import InputError, UsageError


@pytest.mark.parametrize("between", [b",", b";", b"\t"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
def test_a_csv_is_read_to_the_byte(tmp_path: Path, between: bytes, start: bytes, line: bytes) -> None:
    rows = [[b"path", b"split"], [b"a\xff.jpg", b"train"], ["ü.jpg".encode(), b""], [b'"a ""b""\n,;.jpg"', b"\xe9"]]
    (tmp_path / "t.csv").write_bytes(start + line.join(between.join(row) for row in rows) + line)
    table = given_table(tmp_path / "t.csv")
    assert as_bytes(table["path"]) == [b"a\xff.jpg", "ü.jpg".encode(), b'a "b"\n,;.jpg']
    assert as_text(table["split"]) == ["train", None, "\\xe9"]


def test_parquet_and_frames_are_taken(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pa.table(
        {"path": pa.array([b"a\xff", b"b"], pa.binary()), "split": pa.array(["x", None]).dictionary_encode()}
    )
    pq.write_table(table, tmp_path / "any.name")
    for source in (str(tmp_path / "any.name"), table):
        assert as_bytes(given_table(source)["path"]) == [b"a\xff", b"b"]
        assert as_text(given_table(source)["split"]) == ["x", None]
    frame = pandas.DataFrame({"path": ["a", "b"], "fold": [1, 2]})
    assert as_text(given_table(frame)["fold"]) == as_text(given_table({"fold": [1, 2]})["fold"]) == ["1", "2"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "names no columns"),
        (b"a,a\n1,2\n", "a column twice"),
        (b"a,b\n1,2\n1\n", "line 3 has 1 values for 2 columns"),
        (b'a,b\n"1', "cannot be read as a table"),
        (b"PAR1 and no more", "cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "odd\x1b.csv").write_bytes(data)
    with pytest.raises(InputError, match=problem) as raised:
        given_table(tmp_path / "odd\x1b.csv")
    assert str(raised.value).isprintable()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        given_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match="directory"):
        given_table(tmp_path)
    with pytest.raises(UsageError, match="a int is no table"):
        given_table(5)
    with pytest.raises(UsageError, match="it has no column 'x' or 'y': its columns are a, b"):
        column_of(pa.table({"a": [1], "b": [2]}), ("x", "y"), "it")
