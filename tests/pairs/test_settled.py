"""What earlier comparisons settled, as it is read from tables that anybody may have made up."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from dupegrid.core.config import Config
from dupegrid.pairs.settled import settle
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.schemas import MATCHES
from dupegrid.storage.tables import write_table


def test_ids_that_are_none_settle_nothing(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    write_table(run_dir.settled, pa.table({"id": pa.array([0, None, 2, -1, 9], pa.int64())}), {"pairs": "p"})
    write_table(run_dir.settled_matches, MATCHES.empty_table(), {"pairs": "p"})
    assert settle(run_dir, np.arange(4), Config(), "alike", "p").tolist() == [True, False, True, False]
