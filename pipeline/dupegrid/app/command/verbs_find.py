"""The verbs that find: run, index, compare, cluster, estimate, demo."""

import sys
from functools import partial
from importlib import import_module
from typing import Annotated, Any, Final

import dupegrid as api
from dupegrid.app.command.flags import (
    DECISIONS,
    PLOTS,
    WORK,
    WRITTEN,
    File,
    Json,
    Out,
    Paths,
    RunDir,
    emit,
    flag,
    given,
    option,
    switch,
    takes_settings,
)
from dupegrid.app.command.lines import (
    cluster_lines,
    demo_lines,
    detached_lines,
    estimate_lines,
    receipt_lines,
    status_lines,
    summary_lines,
)
from dupegrid.app.command.plotter import plotter
from dupegrid.core.text import counted, shown

_OF_RUN: Final = {
    "list_new": flag(
        "FILE", "Write the paths that have no match under --against to a new file.", rich_help_panel=WRITTEN
    ),
    **PLOTS,
    "decisions": DECISIONS,
    "detach": switch("--detach", "Go on in the background; see 'status RUN --watch'.", rich_help_panel=WORK),
}


@partial(takes_settings, own=_OF_RUN)
def run(out: Out, paths: Paths = None, config: File = None, *, as_json: Json = False, **flags: Any) -> None:
    """Find the duplicates under the PATHs, into RUN.

    That is index, compare, cluster and report; on a RUN that was begun it goes on: without a PATH, as it was.
    """
    list_new = flags.pop("list_new")
    if list_new is not None:
        files = import_module("dupegrid.app.command.answer_files")
        files.check_free(list_new)
    draw = plotter(flags.pop("plots"), flags.pop("plots_most"))
    if flags.pop("detach"):
        del flags["decisions"]  # the one in the background reads them
        # Here, as it loads what a run needs.
        begun = import_module("dupegrid.app.command.detached").detach(
            sys.argv[1:], out, paths or [], config, given(flags)
        )
        emit(begun.as_dict(), detached_lines(begun), as_json)
        return
    done = api.run(*(paths or []), out=out, config=config, **given(flags))
    lines = summary_lines(done.summary)
    if list_new is not None:
        count, file = files.write_new(done, list_new)
        lines.append(f"new         {counted(count, 'picture')} of PATH, listed in {shown(file)}")
    drawn, drawn_lines = draw(done)
    emit({**done.summary.as_dict(), **drawn}, [*lines, *drawn_lines], as_json)


@takes_settings
def index(out: Out, paths: Paths = None, config: File = None, *, as_json: Json = False, **flags: Any) -> None:
    """Find the files under the PATHs and make their thumbnails."""
    done = api.index(*(paths or []), out=out, config=config, **given(flags))
    state = api.status(done.path)
    emit(state.as_dict(), status_lines(state), as_json)


@takes_settings
def compare(run_dir: RunDir, *, as_json: Json = False, **flags: Any) -> None:
    """Compare all images of RUN with all.

    Settings that are not given are those of RUN.
    """
    receipt = api.compare(run_dir, **given(flags)).receipt
    emit(receipt.as_dict(), receipt_lines(receipt), as_json)


@partial(takes_settings, own={"decisions": DECISIONS})
def cluster(run_dir: RunDir, *, as_json: Json = False, **flags: Any) -> None:
    """Join the matches of RUN to clusters.

    The threshold may be anything up to RUN's cutoff.
    """
    done = api.cluster(run_dir, **given(flags))
    summary = done.summary
    drawn = [f"report      {summary.report}"] if done.run_dir.report.exists() else []
    emit(summary.as_dict(), [*cluster_lines(summary), *drawn], as_json)


@takes_settings
def estimate(
    paths: Paths = None,
    config: File = None,
    images: Annotated[int | None, option(metavar="N", help="Estimate for N files like those under the PATHs.")] = None,
    gpus: Annotated[int, option(metavar="N", help="Estimate for comparing on N GPUs.")] = 0,
    *,
    as_json: Json = False,
    **flags: Any,
) -> None:
    """What a run on the PATHs would cost.

    From a few seconds of trying; nothing is written. With --images no PATH is needed.
    """
    cost = api.estimate(*(paths or []), config=config, images=images, gpus=gpus, **given(flags))
    emit(cost.as_dict(), estimate_lines(cost), as_json)


def demo(
    out: Annotated[str, option(metavar="FOLDER", help="Where to draw the pictures and put the run.")] = "demo",
    as_json: Json = False,
) -> None:
    """Draw pictures with planted duplicates, and find them.

    There are some 300; what was found is said beside what was planted.
    """
    # Here, as it loads all that a run needs: --help and workers, which load the program's script, do without.
    result = import_module("dupegrid.app.demo").demo(out)
    emit(result.as_dict(), demo_lines(result), as_json)
