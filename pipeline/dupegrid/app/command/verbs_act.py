"""The verbs that act on files: apply, undo, journal."""

import sys
from importlib import import_module
from typing import Annotated, Any

import dupegrid as api
from dupegrid.app.command.flags import Json, RunDir, argument, confirmed, emit, flag, given, option, switch, with_flags
from dupegrid.app.command.lines_act import (
    apply_lines,
    asked_lines,
    journal_lines,
    totals_lines,
    undo_lines,
    unfinished_lines,
)
from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable

Yes = Annotated[bool, option("--yes", help="Do not ask.")]


@with_flags(
    {
        "dry_run": switch("--dry-run", "Say what would be done, and do nothing."),
        "verify": switch("--verify", "Read both files again: byte for byte, or all pixels of near duplicates."),
        "stop_on_error": switch("--stop-on-error", "End at the first file that is left alone."),
        "quarantine": flag("DIR", "Move files there, by default into .dupegrid-quarantine in their PATH."),
        "delete_for_good": switch("--delete-for-good", "Allow a plan that deletes: undo cannot bring files back."),
        "write_xmp": switch("--write-xmp", "First write date, place and rating that a keeper lacks into its sidecar."),
    }
)
def apply(run_dir: RunDir, yes: Yes = False, *, as_json: Json = False, **flags: Any) -> None:
    """Do what the plan of RUN says, each file looked at again.

    What is not as it was is left alone, with the reason. `dupegrid undo` puts back.
    """
    if not (yes or flags.get("dry_run")):
        totals = import_module("dupegrid.app.act").plan_totals(run_dir)
        _ask([*totals_lines(totals), *unfinished_lines(api.journal(run_dir))], "apply", as_json)
    found = api.apply(run_dir, **given(flags))
    emit(found.as_dict(), apply_lines(found, run_dir), as_json)


def undo(
    run_dir: RunDir,
    path: Annotated[
        str | None, argument(metavar="PATH", help="Only this file, by its path before, or this folder.")
    ] = None,
    yes: Yes = False,
    last: Annotated[bool, option("--last", help="Only the last apply.")] = False,
    action: Annotated[
        str | None, option(metavar="ID", help="Only the apply or the act with this id; see 'journal'.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put back what apply did to files; nothing is replaced.

    With times and modes, also after a crash. Everything, where nothing is named.
    """
    if not yes:
        _ask(asked_lines(api.journal(run_dir)), "undo", as_json)
    found = api.undo(run_dir, path, last=last, action=action)
    emit(found.as_dict(), undo_lines(found), as_json)


def journal(run_dir: RunDir, as_json: Json = False) -> None:
    """All that was ever done to files by RUN."""
    found = api.journal(run_dir)
    emit({"journal": found}, journal_lines(found), as_json)


def _ask(lines: list[str], verb: str, as_json: bool) -> None:
    """Go on only where a person says so."""
    if as_json or sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"{verb} asks before it changes files, and nobody is there: say --yes")
    for line in lines:
        print(printable(line), file=sys.stderr)
    if not confirmed("Go on?"):
        raise UsageError("nothing was done")
