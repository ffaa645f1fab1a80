"""The results of the verbs that act, as lines for people."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from dupegrid.core.text import counted, quoted, size_text
from dupegrid.storage.words import ACTIONS

if TYPE_CHECKING:
    from dupegrid.plans.actions import Applied, AskedFor, Row, Undone

_SHOWN: Final = 20  # rows with a reason; --json has all
_FREE_ONCE: Final = {
    "quarantine": "you delete .dupegrid-quarantine, at the top of their PATH, or your folder for it",
    "trash": "the trash is emptied",
}
_WORDS: Final = {
    "done": "done",
    "would": "would do",
    "back": "put back",
    "before": "done before",
    "missing": "missing",
    "skipped": "left alone",
    "gone": "gone",
}


def totals_lines(found: "AskedFor") -> list[str]:
    lines = [f"{action:<11} {counted(count, 'file')}: {ACTIONS[action]}" for action, count in found.files.items()]
    return [*(lines or ["plan        nothing to do"]), f"size        {size_text(found.freed_bytes)}"]


def apply_lines(found: "Applied", run_dir: str) -> list[str]:
    lines = [row.command or row.path for row in found.rows if row.outcome == "would"]
    lines += _counts(found.counts)
    if "done" in found.counts:
        later = next((_FREE_ONCE[row.action] for row in found.rows if row.action in _FREE_ONCE), None)
        size = (
            f"set aside   {size_text(found.bytes)}, free once {later}"
            if later
            else f"freed       {size_text(found.bytes)}"
        )
        back = any(row.outcome == "done" and row.action != "delete" for row in found.rows)
        lines += [size, f"id          {found.id}"]
        lines += [f"undo        dupegrid undo {quoted(run_dir)}"] if back else []
    return lines + _left(found.rows)


def asked_lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """What an undo may put back, and where: the journal says so, which may be somebody else's."""
    paths = [act["path"] for act in found if act["state"] in ("done", "unfinished")]
    return [f"undo        up to {counted(len(paths), 'file')}", *_around(paths)]


def unfinished_lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """What an apply or an undo that was stopped left half done, which the next apply looks after, and where."""
    paths = [act["path"] for act in found if act["state"] == "unfinished"]
    return [f"unfinished  {counted(len(paths), 'file')}, put back or finished first", *_around(paths)] if paths else []


def undo_lines(found: "Undone") -> list[str]:
    return _counts(found.counts) + _left(found.rows)


def journal_lines(found: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for act in found:
        to = f" -> {act['to']}" if act["to"] else ""
        lines.append(f"{act['id']}  {act['at']}  {act['action']} {act['state']}  {act['path']}{to}")
    return lines or ["journal     nothing was done"]


def _around(paths: Sequence[str]) -> list[str]:
    return [f"in          {os.path.commonpath(map(os.path.dirname, paths))}"] if paths else []


def _counts(counts: dict[str, int]) -> list[str]:
    lines = [f"{_WORDS[name]:<11} {counted(counts[name], 'file')}" for name in _WORDS if name in counts]
    return lines or ["done        nothing"]


def _left(rows: "Sequence[Row]") -> list[str]:
    """The files of which there is something to say."""
    told = [row for row in rows if row.reason is not None and row.outcome != "before"]
    lines = [f"{_WORDS[row.outcome]:<11} {row.path}: {row.reason}" for row in told[:_SHOWN]]
    if len(told) > _SHOWN:
        lines.append(f"            and {counted(len(told) - _SHOWN, 'file')} more, which --json lists")
    return lines
