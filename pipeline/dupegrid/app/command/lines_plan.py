"""The results of the verbs that decide, as lines for people."""

from typing import TYPE_CHECKING, Any

from dupegrid.core.text import counted, quoted, size_text
from dupegrid.storage.words import ACTIONS, KEPT, RULES, VERDICTS

if TYPE_CHECKING:
    from dupegrid.app.plan import Plan


def plan_lines(made: "Plan") -> list[str]:
    """What would go by which rule, and what is kept for which reason."""
    totals = made.totals
    sidecars = f", {counted(totals.sidecars, 'sidecar')} among them" if totals.sidecars else ""
    rules = [
        f"  {count:>9,}  {f'the one to keep {RULES[rule]}' if rule in RULES else 'they go with their picture'}"
        for rule, count in totals.by_rule.items()
    ]
    lost = ", ".join(f"{word} of {count:,}" for word, count in totals.lost.items())
    kept = [f"  {count:>9,}  {KEPT.get(reason, reason)}" for reason, count in totals.kept.items()]
    run = quoted(made.run)
    act = f"dupegrid apply {run}; what it does, dupegrid undo {run} takes back"
    if made.action == "delete":
        act = f"dupegrid apply {run} --delete-for-good, which nothing takes back"
    return [
        f"would go    {counted(totals.files, 'file')}{sidecars}: {ACTIONS[made.action]}",
        *rules,
        f"space       {size_text(totals.freed_bytes)} in them",
        *([f"lost        {lost}, which their keepers lack: see --keep-metadata"] if lost else []),
        *(
            [f"gone        {made.gone:,} of them already: dupegrid run --out {run} takes up what changed"]
            if made.gone
            else []
        ),
        f"kept        {counted(sum(totals.kept.values()), 'file')} of clusters, beside the keepers",
        *kept,
        f"plan        {made.path}",
        *([f"next        {act}"] if totals.files else []),
    ]


def pair_lines(row: dict[str, Any], number: int, of: int) -> list[str]:
    """A pair of a sample."""
    compared = f": {row['compared']}" if row["compared"] else ""
    relation = f", {row['relation']}" if row["relation"] else ""
    distance = "not compared" if row["mse"] is None else f"MSE {row['mse']:.4g}"
    return [
        f"{number} of {of}  {distance}{relation}; the one to keep {RULES[row['rule']]}{compared}",
        f"  keep  {row['keeper_path']}",
        f"  goes  {row['path']}" + (f" (loses {row['lost_metadata']})" if row["lost_metadata"] else ""),
    ]


def sample_lines(rule: str, approved: int, asked: int) -> list[str]:
    """How many of the pairs were approved."""
    rate = f", {100 * approved / asked:.0f} %" if asked else ""
    return [f"sample      {approved:,} of {counted(asked, 'pair')} approved{rate}: the one to keep {RULES[rule]}"]


def decide_lines(found: dict[str, Any], run_dir: str) -> list[str]:
    """What was decided, and what goes by it."""
    kept = [f"keep        {found['keeper']}"] if found["keeper"] else []
    return [
        f"decided     {VERDICTS[found['decision']]}",
        f"a           {found['a']}",
        f"b           {found['b']}",
        *kept,
        f"next        dupegrid plan {quoted(run_dir)}, which makes the clusters anew",
    ]
