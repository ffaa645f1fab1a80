"""The plots that `--plots DIR` asks for: drawn when the run is there, said in a line."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import dupegrid as api
from dupegrid.core.text import counted, printable

if TYPE_CHECKING:  # as they load all that a run needs, which --help does without
    from dupegrid.app.run import Run
    from dupegrid.results.drawn.plot_files import Plots

Drawn = tuple[dict[str, Any], list[str]]  # what --json prints of it, lines for people


def plotter(folder: str | None, most: int | None) -> "Callable[[Run], Drawn]":
    """What draws the pairs of a run into a folder, or nothing where none is asked for.

    UsageError, before any work, where matplotlib is not there.
    """
    if folder is None:
        return lambda _run: ({}, [])
    save = api.plots.save

    def draw(run: "Run") -> Drawn:
        reporter = import_module("dupegrid.app.terminal").Terminal()
        plots = save(run, folder, reporter=reporter) if most is None else save(run, folder, most, reporter)
        return {"plots": plots.as_dict()}, _lines(plots)

    return draw


def _lines(plots: "Plots") -> list[str]:
    there = f", {plots.there:,} of them there before" if plots.there else ""
    lines = [f"plots       {plots.drawn + plots.there:,} in {printable(plots.folder)}{there}"]
    if plots.left_out:
        whole = plots.drawn + plots.there + plots.left_out
        lines.append(f"            {counted(plots.left_out, 'pair')} not drawn: --plots-most {whole} draws all")
    return lines
