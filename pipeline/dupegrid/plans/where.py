"""Which rows of a plan an expression of SQL chooses. The only file that knows DuckDB.

The expression comes from the command line, and perhaps from somebody else: it reads the plan and nothing else, no file
and no network, and writes nothing.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import Bools
from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable

_SHUT: Final[dict[str, Any]] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",  # nor are the variables of this process tables
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "memory_limit": "2GB",
}


def chosen(plan: pa.Table, where: str) -> Bools:
    """Which rows of a plan an expression is true for, such as "mse < 5 and path like '%/new/%'": bool (rows,).

    Its names are the columns of PLAN. UsageError where it is no expression of a row, or DuckDB is lacking.
    """
    try:
        import duckdb
    except ImportError:
        raise UsageError("--where needs DuckDB: pip install 'dupegrid[notebooks]'") from None
    table = plan.append_column("row number", pa.array(np.arange(len(plan))))
    try:
        with duckdb.connect(":memory:", config=_SHUT) as database:
            database.register("plan", table)
            database.execute("SET lock_configuration = true")
            query = f'SELECT "row number", CAST((\n{where}\n) AS BOOLEAN) AS chosen FROM plan'
            statements = database.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise ValueError("it is more than an expression")
            found = database.execute(statements[0]).fetchall()
    except (duckdb.Error, ValueError, RuntimeError) as error:
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"--where {printable(where)!r} chooses no rows: {printable(problem)}") from None
    if sorted(row[0] for row in found) != list(range(len(plan))) or any(len(row) != 2 for row in found):
        raise UsageError(f'--where {printable(where)!r} is no expression of one row: give one such as "mse < 5"')
    out = np.zeros(len(plan), bool)
    out[[row for row, is_chosen in found if is_chosen]] = True
    return out
