"""--where: an expression of a row chooses rows, whatever it is; it reads the plan and nothing else."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dupegrid.core.errors import UsageError
from dupegrid.plans.where import chosen
from dupegrid.storage.schemas import PLAN

pytestmark = pytest.mark.skipif(find_spec("duckdb") is None, reason="no duckdb: pip install '.[dev]'")
ROWS = [
    {"action": "trash", "path": "/p/new/a.jpg", "mse": 1.0, "size_bytes": 10},
    {"action": "trash", "path": "/p/old/b.jpg", "mse": 9.0, "size_bytes": 2000},
    {"action": "keep", "path": "/p/new/c'; drop.jpg", "mse": None, "size_bytes": 30, "reason": "chain"},
]
TABLE = pa.Table.from_pylist(ROWS, PLAN)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("mse < 5", [True, False, False]),  # unknown is not true
        ("path like '%/new/%' and size_bytes > 20", [False, False, True]),
        ("reason is null -- a comment", [True, True, False]),
        ("rank() over (order by size_bytes desc) = 1", [False, True, False]),
        ("true", [True] * 3),
        ("null", [False] * 3),
        ("1", [True] * 3),
    ],
)
def test_an_expression_chooses(where: str, expected: list[bool]) -> None:
    assert chosen(TABLE, where).tolist() == expected
    assert len(chosen(TABLE.slice(0, 0), where)) == 0


@pytest.mark.parametrize(
    "where",
    [
        "",
        "nosuch = 3",
        "mse <",
        "'text'",
        "max(mse) > 3",
        "true) from plan union all (select 0, true",
        "true) from plan where (mse > 3",
        "true), (2",
        "true) from range(1000) --",
        "true); drop table plan; select (1",
        "true); copy plan to '{file}.new'; select (1",
        "true); attach '{file}.new'; select (1",
        "true); set enable_external_access = true; select (1",
        "true); install httpfs; select (1",
        "(select count(*) from read_csv('{file}')) > 0",
        "(select count(*) from '{file}') > 0",
        "(select content from read_text('{file}')) = ''",
        "(select count(*) from glob('{file}*')) > 0",
        "(select count(*) from TABLE) > 0",  # a variable of Python
        "(select count(*) from secret_variable) > 0",
        "unnest([true, false])",
        "true) as boolean) from plan; copy plan to '{file}.new'; select 0, cast((true",
    ],
)
def test_what_is_no_expression_of_a_row_or_reaches_out_is_refused(where: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("a,b\n1,2\n")
    secret_variable = TABLE  # noqa: F841
    with pytest.raises(UsageError) as said:
        chosen(TABLE, where.format(file=file))
    assert "\n" not in str(said.value)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "a,b\n1,2\n"


def test_the_order_of_rows_stays() -> None:
    table = pa.table({name: [None] * 5000 for name in PLAN.names if name != "image"}).append_column(
        "image", pa.array(np.random.default_rng(1).permutation(5000))
    )
    table = table.select(PLAN.names).cast(PLAN)
    assert chosen(table, "image % 3 = 0").tolist() == [image % 3 == 0 for image in table["image"].to_pylist()]
