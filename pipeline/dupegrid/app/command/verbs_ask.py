"""The verbs that ask: folders, unique, top, leakage, evaluate."""

from importlib import import_module
from typing import Annotated, Any, Final

import dupegrid as api
from dupegrid.app.command.flags import Exit, Json, RunDir, argument, emit, flag, option, with_flags
from dupegrid.app.command.lines_ask import (
    evaluate_lines,
    folders_lines,
    leakage_lines,
    not_read_lines,
    rows_of,
    top_lines,
    unique_lines,
    verdict_line,
)

LEAKS: Final = 3  # the exit code over --max-leakage


def folders(run_dir: RunDir, as_json: Json = False) -> None:
    """Which folders of RUN hold the same pictures, in percent.

    Both ways, by near duplicates; a folder holds all that lies below it.
    """
    run = api.open_run(run_dir)
    table = api.folders(run)
    failed = run.receipt.images.failed
    lines = [*folders_lines(table), *not_read_lines(failed, run_dir)]
    emit({"folders": rows_of(table) if as_json else [], "not_read": failed}, lines, as_json)


def unique(
    run_dir: RunDir,
    of: Annotated[list[str] | None, option(metavar="PATH", help="Only what is under this PATH of RUN.")] = None,
    to_list: Annotated[
        str | None, option("--list", metavar="FILE", help="Write their paths to a new file, one a line.")
    ] = None,
    null: Annotated[bool, option("--null", help="End the paths in FILE with NUL.")] = False,
    as_json: Json = False,
) -> None:
    """Which pictures of RUN are on one side only.

    The sides are those of --against, else the PATHs; of one PATH, those without a near duplicate.
    """
    run = api.open_run(run_dir)
    table = api.unique(run, of or None)
    failed = run.receipt.images.failed
    lines = [*unique_lines(table, run.config.roots), *not_read_lines(failed, run_dir)]
    if to_list is not None:
        lines.append(f"list        {_files().write_list(run, to_list, table['path_raw'], null)}")
    emit({"unique": rows_of(table) if as_json else [], "not_read": failed}, lines, as_json)


def top(run_dir: RunDir, as_json: Json = False) -> None:
    """Which clusters of RUN would free the most space."""
    table = api.top(api.open_run(run_dir))
    emit({"top": rows_of(table) if as_json else []}, top_lines(table), as_json)


@with_flags(
    {
        "max_leakage": flag("PERCENT", "Exit with code 3 if more of an evaluation split leaks.", float, min=0, max=100),
        "out": flag("FOLDER", "Write all tables there, as parquet and CSV."),
    }
)
def leakage(
    run_dir: RunDir,
    split: Annotated[
        str,
        option(
            metavar="folders|FILE|FILE:COLUMN|COLUMN",
            help="Splits by folder, by a table (path, split), or by images.parquet.",
        ),
    ] = "folders",
    label: Annotated[
        str | None,
        option(metavar="folders|FILE|COLUMN", help="Labels, likewise; COLUMN may be one of --split's table."),
    ] = None,
    keep: Annotated[
        str, option(metavar="train|test|neither", help="Where a near duplicate stays that is in two splits.")
    ] = "train",
    *,
    as_json: Json = False,
    **flags: Any,
) -> None:
    """Whether splits (train, test) of RUN share pictures.

    A picture of an evaluation split leaks if a near duplicate of it is in the training split.
    """
    run = api.open_run(run_dir)
    found = api.leakage(run, split, label, keep)
    lines, out, most = leakage_lines(found), flags["out"], flags["max_leakage"]
    is_over = most is not None and found.worst_percent > most
    if most is not None:
        lines.append(verdict_line(found.worst_percent, most))
    if out is not None:
        lines.append(f"tables      {_files().write_leakage(run, out, found)}")
    emit(found.as_dict(), lines, as_json)
    if is_over:
        raise Exit(LEAKS)


def evaluate(
    run_dir: RunDir,
    truth: Annotated[str, argument(metavar="TRUTH", help="A CSV or parquet file: a, b, ids or paths.")],
    as_json: Json = False,
) -> None:
    """Precision and recall of RUN's matches, by known pairs.

    Threshold by threshold.
    """
    run = api.open_run(run_dir)
    table = api.evaluate(run, truth)
    emit({"evaluation": rows_of(table)}, evaluate_lines(table, run.config.threshold), as_json)


def _files() -> Any:
    return import_module("dupegrid.app.command.answer_files")  # here, as --help does without what it loads
