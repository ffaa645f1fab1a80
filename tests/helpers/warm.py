"""What a command does once in a process, done at once: forks of a process that has imported this have it behind them.

Nothing here starts a thread.
"""

from typing import Any

import dask.bag
import pandas  # noqa: F401
import pyarrow.acero  # noqa: F401
import typer
import zarr  # noqa: F401

from dupegrid.app.command import cli
from dupegrid.app.run_json import versions
from dupegrid.core import blas
from dupegrid.core import hidden_imports as start
from dupegrid.images import decoder, sandbox  # noqa: F401  # the first for forks
from dupegrid.results.drawn import report

PARSED = typer.main.get_command(cli.app)  # the flags of all verbs


def parsed_app(**options: Any) -> Any:
    """In the place of `cli.app`, which would put these flags together for each call."""
    return PARSED(**options)


with start._hiding("scipy", "xarray"):  # as a command does
    import dask.array  # noqa: F401

blas._blas()
versions()
for _page in ("report.html.jinja", "cards.html.jinja"):
    report.pages().get_template(_page)
