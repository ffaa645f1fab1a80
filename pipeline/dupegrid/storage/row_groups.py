"""Single row groups of a parquet file, as tasks read them one after the other."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dupegrid.storage.tables import file_metadata, opened_parquet


class RowGroups:
    """A parquet file of which single row groups are read; what it says of all of them is read once."""

    def __init__(self, path: Path) -> None:
        self._path, self._metadata = path, file_metadata(path)

    def read(self, number: int) -> pa.Table:
        """One row group."""
        with opened_parquet(self._path) as file:
            parquet = pq.ParquetFile(file, metadata=self._metadata, page_checksum_verification=True)
            return parquet.read_row_group(number, use_threads=False)
