"""The verbs that decide what may be done: plan, decide."""

import sys
from importlib import import_module
from typing import Annotated, Any

import dupegrid as api
from dupegrid.app.command.flags import (
    DECISIONS,
    ImageA,
    ImageB,
    Json,
    RunDir,
    argument,
    emit,
    flag,
    given,
    option,
    switch,
    with_flags,
)
from dupegrid.app.command.lines_ask import rows_of
from dupegrid.app.command.lines_plan import decide_lines, pair_lines, plan_lines, sample_lines
from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable
from dupegrid.storage.words import ACTIONS

_ANSWERS = {"a": "same", "d": "not-same"}
_ACTIONS = "|".join(action for action in ACTIONS if action != "keep")


@with_flags(
    {
        "sample": flag("N", "Show N pairs that a rule decided first, to approve or deny.", int, min=1),
        "rule": flag("RULE", "The rule to sample.  [default: the one that decides most]"),
        "action": flag(_ACTIONS, "What is to be done.  [default: quarantine]"),
        "where": flag("SQL", "Only files for which this holds; it names columns of plan.parquet."),
        "folders": flag("'B in A'", "Only files of B whose keepers are in A."),
        "threshold": flag("NUMBER", "Give RUN this threshold from now on, up to its cutoff.  [default: RUN's]", float),
        "keep_metadata": switch("--keep-metadata", "Keep files with metadata that their keepers lack."),
        "decisions": DECISIONS,
    }
)
def plan(run_dir: RunDir, *, as_json: Json = False, **flags: Any) -> None:
    """Write down which files of RUN may go, and which are kept.

    Into plan.parquet, which 'apply' acts on: no picture is touched by this.
    """
    sample, rule = flags.pop("sample", None), flags.pop("rule", None)
    if rule is not None and sample is None:
        raise UsageError("--rule says of which rule --sample shows pairs: give --sample N too")
    made = api.plan(run_dir, **given(flags))
    if sample is None:
        emit(made.as_dict(), plan_lines(made), as_json)
        return
    of_rule, pairs = import_module("dupegrid.plans.sample").sample(made.table, sample, rule)
    if as_json:
        emit({"rule": of_rule, "pairs": rows_of(pairs)}, [], as_json)
        return
    approved, asked = _looked_at(run_dir, pairs.to_pylist())
    made = api.plan(run_dir, **given({**flags, "decisions": None})) if asked else made
    emit({}, [*sample_lines(of_rule, approved, asked), *plan_lines(made)], as_json)


def decide(
    run_dir: RunDir,
    a: ImageA,
    b: ImageB,
    decision: Annotated[str, argument(metavar="same|not-same|variant|undecided")],
    keep: Annotated[str | None, option(metavar="A|B", help="With 'same': which of the two is kept.")] = None,
    as_json: Json = False,
) -> None:
    """Say of two pictures of RUN whether they are the same.

    It is kept by what the files hold: other names and later runs do not undo it.
    """
    found = api.decide(run_dir, a, b, decision, {"A": a, "B": b}.get(keep or "", keep))
    emit(found, decide_lines(found, run_dir), as_json)


def _looked_at(run_dir: str, pairs: list[dict[str, Any]]) -> tuple[int, int]:
    """Ask of each pair whether it is one, and keep the answers: how many were approved, and how many there are."""
    run_dir_ = api.open_run(run_dir).run_dir
    decisions = import_module("dupegrid.plans.decisions")  # here, as --help does without what it loads
    approved = asked = 0
    for number, row in enumerate(pairs, 1):
        for line in pair_lines(row, number, len(pairs)):
            print(printable(line), file=sys.stderr)
        answer = _answer()
        if answer == "q":
            break
        if answer == "s":
            continue
        pair = row["file_hash"], row["keeper_file_hash"]
        keeper = row["keeper_file_hash"] if answer == "a" else None
        decisions.append(run_dir_, [decisions.decided_row(*pair, _ANSWERS[answer], keeper, "sample")])
        approved, asked = approved + (answer == "a"), asked + 1
    return approved, asked


def _answer() -> str:
    """One of a, d, s and q; q where nobody is there to answer."""
    while True:
        print("approve, deny, skip or quit? [a/d/s/q] ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line or line.strip().lower()[:1] in ("a", "d", "s", "q"):
            return line.strip().lower()[:1] or "q"
