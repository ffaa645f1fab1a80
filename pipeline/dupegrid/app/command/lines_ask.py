"""The answers to questions as lines for people, and their rows as `--json` prints them."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dupegrid.core.text import counted, quoted, size_text

if TYPE_CHECKING:
    import pyarrow as pa

    from dupegrid.results.questions.leakage import Leakage

_SHOWN: Final = 20


def rows_of(table: "pa.Table") -> list[dict[str, Any]]:
    """The rows of a table for JSON; the bytes of a path as text, those that are not UTF-8 as lone surrogates."""
    return [
        {name: os.fsdecode(value) if isinstance(value, bytes) else value for name, value in row.items()}
        for row in table.to_pylist()
    ]


def folders_lines(table: "pa.Table") -> list[str]:
    """A line a pair of folders."""
    lines = [
        f"{row['percent_b']:5.1f} %  {row['shared_b']:,} of {row['images_b']:,} of {row['folder_b']} are in "
        f"{row['folder_a']} ({row['percent_a']:.1f} %, {row['shared_a']:,} of {row['images_a']:,}, the other way round)"
        for row in table.slice(0, _SHOWN).to_pylist()
    ]
    whole = sum(table["b_in_a"].to_pylist())
    head = f"{counted(len(table), 'pair')} of folders with the same pictures; in {whole:,} one is wholly in the other"
    if not lines:
        head = "no two folders hold the same pictures"
    return [head, *lines, *_more(len(table), "pairs of folders")]


def unique_lines(table: "pa.Table", roots: Sequence[str]) -> list[str]:
    """How many there are under each PATH, and the first of them; of one PATH those without any near duplicate."""
    of = table["root"].to_pylist()
    numbers = dict.fromkeys(root for root in of if root is not None)
    counts = [f"{of.count(number):,} of {roots[number]}" for number in numbers]
    head = f"{counted(len(table), 'picture')} on one side only" + (f": {', '.join(counts)}" if counts else "")
    if len(roots) == 1:
        head = f"{counted(len(table), 'picture')} without a near duplicate"
    paths = [f"  {path}" for path in table["path"].slice(0, _SHOWN).to_pylist()]
    return [head, *paths, *_more(len(table), "pictures", "all in a file with --list FILE")]


def not_read_lines(failed: Mapping[str, int], run_dir: str) -> list[str]:
    """How many files an answer says nothing of: films beside the pictures, and what is damaged."""
    if not failed:
        return []
    counts = ", ".join(f"{count:,} {word}" for word, count in failed.items())
    return [f"not read: {counts}, which are in no count: see dupegrid status {quoted(run_dir)}"]


def top_lines(table: "pa.Table") -> list[str]:
    """A line a cluster."""
    lines = [
        f"{size_text(row['freed_bytes']):>9}  {row['freed_files']:,} of {counted(row['images'], 'image')} "
        f"in cluster {row['cluster']}, keeping {row['path']}"
        for row in table.slice(0, _SHOWN).to_pylist()
    ]
    total = size_text(sum(table["freed_bytes"].to_pylist()))
    head = f"{total} in {counted(sum(table['freed_files'].to_pylist()), 'file')} of {counted(len(table), 'cluster')}"
    return [head, *lines, *_more(len(table), "clusters")]


def leakage_lines(found: "Leakage") -> list[str]:
    """The splits, what each two share, and label conflicts."""
    record = found.as_dict()
    lines = [f"training    {found.training}; at MSE {found.threshold:g}; near duplicates kept: {found.keep}"]
    for row in record["splits"]:
        leaks = (
            "" if row["is_training"] else f"{row['leaking']:,} ({row['leaking_percent']:.2f} %) leak from training, "
        )
        lines.append(
            f"split       {row['split']}: {counted(row['images'], 'picture')}, {leaks}"
            f"{row['elsewhere']:,} near one of another split, {row['dropped']:,} dropped"
        )
    lines += [
        f"shared      {row['split_a']} - {row['split_b']}: {counted(row['pairs'], 'pair')}, {row['images_a']:,} of "
        f"{row['split_a']}" + (f", {row['images_b']:,} of {row['split_b']}" if row["split_a"] != row["split_b"] else "")
        for row in record["matrix"]
        if row["pairs"]
    ]
    conflicts = record["label_conflicts"]
    lines += (
        [f"labels      {counted(conflicts, 'picture')} with a near duplicate of another label"] if conflicts else []
    )
    if record["without_split"]:
        lines.append(f"no split    {counted(record['without_split'], 'picture')}: left out, but of the groups")
    if found.unknown:
        lines.append(f"unknown     {counted(found.unknown, 'row')} of the table name no picture of this run")
    return lines


def verdict_line(percent: float, most: float) -> str:
    """Whether the worst split leaks more than is allowed, with as many digits as tell the one from the other."""
    texts = (f"{percent:.{digits}f}" for digits in range(2, 17))
    text = next((text for text in texts if (float(text) > most) == (percent > most)), repr(percent))
    verdict = f"{'over' if percent > most else 'at or under'} --max-leakage {most:g}"
    return f"verdict     {text} % of an evaluation split leak from training: {verdict}"


def evaluate_lines(table: "pa.Table", threshold: float) -> list[str]:
    """Some of the thresholds: evenly many rows apart, and the last at or under that of the run."""
    steps = table["threshold"].to_pylist()
    if not steps:
        return ["nothing was found: precision is not known, recall is 0 %"]
    apart = -(-len(steps) // _SHOWN)
    at_or_under = sum(step <= threshold for step in steps) - 1
    places = sorted({*range(0, len(steps), apart), len(steps) - 1, *([at_or_under] if at_or_under >= 0 else [])})
    lines = ["threshold     found   correct    missed  precision  recall"]
    for row in table.take(places).to_pylist():
        counts = f"{row['found']:>9,} {row['correct']:>9,} {row['missed']:>9,}"
        lines.append(
            f"{row['threshold']:>9.4g} {counts} {100 * row['precision']:>8.2f} % {100 * row['recall']:>5.1f} %"
        )
    return lines


def _more(count: int, what: str, how: str = "all with --json") -> list[str]:
    return [f"and {count - _SHOWN:,} more {what}: {how}"] if count > _SHOWN else []
