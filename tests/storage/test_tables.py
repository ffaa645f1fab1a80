"""Tables of a run directory, as versions of pyarrow read them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dupegrid.core.errors import DamagedError
from dupegrid.storage.schemas import CLUSTERS, FILES
from dupegrid.storage.tables import read_table, write_tables


@pytest.mark.parametrize("whole", [False, True])
def test_a_table_of_no_rows_is_read_where_pyarrow_reads_no_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """As pyarrow 18, the lowest that is allowed, does not."""
    read = pq.ParquetFile.read_row_groups

    def as_of_18(file: pq.ParquetFile, groups: list[int], *arguments: Any, **options: Any) -> pa.Table:
        if not groups:
            raise OSError("The file only has 0 row groups, requested metadata for row group: -1")
        return read(file, groups, *arguments, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", as_of_18)
    path = tmp_path / "clusters.parquet"
    write_tables(path, CLUSTERS, [], None)
    assert read_table(path, CLUSTERS, whole=whole) == CLUSTERS.empty_table()
    with pytest.raises(DamagedError):
        read_table(path, FILES)
