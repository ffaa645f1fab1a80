"""The verbs that look into a run: status, explain, report."""

from importlib import import_module
from typing import Annotated, Any

import dupegrid as api
from dupegrid.app.command.flags import PLOTS, ImageA, Json, RunDir, argument, emit, option, with_flags
from dupegrid.app.command.lines import explain_lines, like_lines, status_lines
from dupegrid.app.command.plotter import plotter


def status(
    run_dir: RunDir,
    watch: Annotated[bool, option("--watch", help="Show the progress of the run at work, until it ends.")] = False,
    as_json: Json = False,
) -> None:
    """How far RUN is, and which of its files could not be read.

    With --watch and --json: a line for each step of the run at work, then the status as without --watch.
    """
    if watch:
        # Here, as it loads all that a run needs.
        watching = import_module("dupegrid.app.watching")
        if as_json:
            for event in watching.events(run_dir):
                emit(event, [], as_json, indent=None)
        else:
            watching.show(run_dir)
    state = api.status(run_dir)
    emit(state.as_dict(), status_lines(state), as_json, indent=None if watch else 2)


def explain(
    run_dir: RunDir,
    a: ImageA,
    b: Annotated[str | None, argument(metavar="B", help="Another; without it A may be any file.")] = None,
    as_json: Json = False,
) -> None:
    """Why two images of RUN match or do not; or what is like one.

    Of two every number that decides, and a picture of where they differ. Of A alone, which may be a file that is not
    in RUN, where it is and what is nearest to it, of all images.
    """
    done = api.open_run(run_dir)
    if b is None:
        alike = done.explain(a)
        emit(alike.as_dict(), like_lines(alike), as_json)
        return
    found = done.explain(a, b)
    picture = done.path / f"explain-{found.a.id}-{found.b.id}.png"
    import_module("dupegrid.storage.ours").check_picture(picture)
    drawn: str | None = str(picture)
    where = drawn
    try:
        import_module("dupegrid.storage.files").write_bytes(picture, found.picture)
    except OSError as error:  # on a disk that is full or read-only all else can be said
        drawn, where = None, f"not written to {picture.parent}: {error.strerror}"
    threshold = done.config.threshold if done.config.metric == "mse" else None  # which is by another measure
    emit({**found.as_dict(), "picture": drawn}, [*explain_lines(found, threshold), f"picture     {where}"], as_json)


@with_flags(PLOTS)
def report(run_dir: RunDir, *, as_json: Json = False, **flags: Any) -> None:
    """Draw the clusters of RUN as a page: report.html."""
    draw = plotter(flags.get("plots"), flags.get("plots_most"))
    page = str(api.report(run_dir))
    drawn, lines = draw(api.open_run(run_dir))
    emit({"report": page, **drawn}, [f"report      {page}", *lines], as_json)
