"""The result of each verb as lines for people; `--json` prints the same results whole."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from dupegrid.core.text import counted, printable, quantity, quoted, size_text
from dupegrid.storage.words import REASONS, RULES

if TYPE_CHECKING:
    from dupegrid.app.command.detached import Detached
    from dupegrid.app.demo import Demo
    from dupegrid.app.estimate import Estimate
    from dupegrid.results.answers import Failure, Receipt, Status, Summary
    from dupegrid.results.explain import Explanation, Side
    from dupegrid.results.like import Likeness, Neighbour, Place

_ENDINGS: Final = 8


def _counts(by_word: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {word}" for word, count in by_word.items()) or "none"


def summary_lines(summary: "Summary") -> list[str]:
    word = "picture" if summary.ok == 1 else "pictures"
    files = f"{summary.images:,} found, {summary.ok:,} {word} read; not read: {_counts(summary.failed)}"
    files = files if summary.images else "none under the PATHs: nothing to compare"
    files += f"; {summary.removed:,} of an earlier run gone" if summary.removed else ""
    left_out, links, run = summary.not_asked_for, summary.links_left_alone, quoted(summary.run)
    there = f"{summary.already_there or 0:,} of {summary.pictures_of_path or 0:,}"
    return [
        f"files       {files}",
        *_not_listed(summary.unreadable_folders),
        *([f"links       {counted(links, 'symbolic link')} left alone: see --follow-symlinks"] if links else []),
        f"pairs       {quantity(summary.pairs - left_out)} compared"
        + (f", {quantity(left_out)} not asked for" if left_out else ""),
        *cluster_lines(summary),
        *(
            [f"known       {there} pictures of PATH have a match under --against"]
            if summary.already_there is not None
            else []
        ),
        f"tables      {summary.run}{os.sep}",
        f"report      {summary.report}",
        *([f"next        dupegrid review {run}, or dupegrid plan {run}"] if summary.clusters else []),
    ]


def _not_listed(folders: Sequence[str]) -> list[str]:
    """The folders that the system did not list."""
    more = f", and {len(folders) - 3:,} more in run.json" if len(folders) > 3 else ""
    return [f"folders     {len(folders):,} not listed: {', '.join(folders[:3])}{more}"] if folders else []


def detached_lines(begun: "Detached") -> list[str]:
    return [
        f"begun       process {begun.pid}; what it says goes to {begun.log}",
        f"look        dupegrid status {quoted(begun.run)} --watch",
        f"stop        kill {begun.pid}",
    ]


def cluster_lines(summary: "Summary") -> list[str]:
    clusters, bridges = counted(summary.clusters, "cluster"), counted(summary.bridges, "bridge")
    size, pairs = size_text(summary.duplicate_bytes), counted(summary.matches, "matching pair")
    found = f"{summary.duplicates:,} in {clusters} at MSE {summary.threshold:g}"
    lines = [f"duplicates  {found}, {size} in them; {bridges}; {pairs}"]
    lines += [
        f"look again  nothing is under {place}, which --protect or --only names" for place in summary.nothing_under
    ]
    return [*lines, *([f"relations   of these pairs {_counts(summary.relations)}"] if summary.relations else [])]


def receipt_lines(receipt: "Receipt") -> list[str]:
    pairs = dict(receipt.pairs)
    total = pairs.pop("total")
    return [
        f"pairs       {total:,}: " + ", ".join(f"{name} {count:,}" for name, count in pairs.items()),
        f"matches     {receipt.matches:,} at or under {receipt.cutoff:g}",
    ]


def status_lines(state: "Status") -> list[str]:
    shown = 20
    stages = [
        f"{name:<8} {stage.done:,} of {stage.total:,} {stage.unit}"
        if stage.total or (name == "index" and not state.compared)  # of none: indexed, or nothing is listed yet
        else f"{name:<8} {'done' if state.compared else 'to do'}"
        for name, stage in (("index", state.index), ("compare", state.compare), ("relate", state.relate))
        if stage is not None
    ]
    stages += [
        f"{name:<8} {'done' if done else 'to do'}"
        for name, done in (("cluster", state.cluster), ("report", state.report))
    ]
    stages += [f"relations: {_counts(state.relations)}"] if state.relations else []
    damaged = [failure for failure in state.failures if failure.status != "unidentified"]
    others = [failure for failure in state.failures if failure.status == "unidentified"]
    several = len(others) > shown  # films and sidecars beside the pictures, as a rule
    listed = damaged if several else damaged + others
    failures = [
        f"  {failure.status}: {failure.path}" + (f" ({failure.error})" if failure.error else "")
        for failure in listed[:shown]
    ]
    more = len(listed) - len(failures)
    left = [
        f"  {piece.stage} {piece.what}: {piece.count:,} {piece.unit} ({piece.problem})"
        for piece in state.missing[:shown]
    ]
    left += [f"  and {len(state.missing) - shown:,} more"] if len(state.missing) > shown else []
    return [
        *stages,
        *(["missing, as it failed at every try: run again to go on there", *left] if left else []),
        f"not read: {_counts(state.failed)}",
        *failures,
        *([f"  and {more:,} more: see 'status' and 'error' in images.parquet"] if more else []),
        *([f"  unidentified, by their names: {_endings(others)}"] if several else []),
    ]


def explain_lines(found: "Explanation", threshold: float | None) -> list[str]:
    sides = [f"a           {_side(found.a)}", f"b           {_side(found.b)}"]
    verdict = []
    if found.best is not None and threshold is not None:
        verdict = _verdict(found.mse[found.best], threshold)
    if found.best is None:
        verdict.append("verdict     they never match, as not both were read: 'dupegrid status' says why")
    joined = "over the cutoff" if found.joined_at is None else f"threshold {found.joined_at:.4f}"
    return [
        *sides,
        *verdict,
        f"same bytes  {'yes' if found.same_file else 'no'}",
        *([f"relation    {printable(found.relation.text)}"] if found.relation is not None else []),
        *(
            f"MSE         {value:.4f} {name}" + (" (best)" if name == found.best else "")
            for name, value in found.mse.items()
        ),
        *(f"bound       {value:.4f} {name}" for name, value in found.bounds.items()),
        *([f"joined      {joined}"] if found.best is not None else []),
        f"thumbnails  {found.thumbnails}",
        *([f"nearest by  {' and '.join(found.looks)}"] if found.looks else []),
    ]


def _endings(failures: Sequence["Failure"]) -> str:
    """How many files end in what, the most first."""
    endings = Counter(os.path.splitext(failure.path)[1].lower() or "none" for failure in failures)
    few = dict(endings.most_common(_ENDINGS))
    more = len(failures) - sum(few.values())
    return _counts(few | ({"others": more} if more else {}))


def _side(side: "Side") -> str:
    name = side.path if side.id is None else f"{side.id}: {side.path}"
    return ", ".join([name, *([f"{side.width} x {side.height}"] if side.width else []), side.status])


def like_lines(found: "Likeness") -> list[str]:
    side, near = found.picture, found.nearest
    lines = [f"picture     {_side(side)}, {size_text(side.size_bytes)}" + (f" ({found.error})" if found.error else "")]
    if side.id is not None:
        none = "in none" if found.clustered else "not known: this run has no clusters yet"
        lines.append(f"cluster     {none if found.place is None else _place(found.place)}")
    if side.status != "ok":
        why = "is gone" if side.status == "removed" else "was not read: 'dupegrid status' says why"
        return [*lines, f"alike       nothing is known, as it {why}"]
    if found.flat:
        lines.append("look again  it is one colour, or nearly: the MSE says little of it")
    lines += _verdict(near[0].mse, found.threshold) if near and found.matches is not None else []
    if found.matches is None:
        lines.append("alike       the nearest by MSE, which is not what this run goes by")
    else:
        last = "; the nearest there is:" if near and not found.matches else ""
        lines.append(f"alike       {counted(found.matches, 'picture')} at or under the cutoff {found.cutoff:g}{last}")
    more = (found.matches or 0) - len(near)
    return [*lines, *map(_neighbour, near), *([f"and {more:,} more"] if more > 0 else [])]


def _verdict(least: float, threshold: float) -> list[str]:
    return [
        f"verdict     MSE {least:.4g}, {'at or under' if least <= threshold else 'over'} the threshold {threshold:g}"
    ]


def _place(place: "Place") -> str:
    if place.role == "keep":
        return f"{place.cluster}: the one to keep"
    far = "" if place.mse_to_keeper is None else f" (MSE {place.mse_to_keeper:.4g})"
    why = f", which {RULES[place.rule]}" if place.rule else ""
    why += f": {place.compared}" if place.compared else ""
    role = f"duplicate of {place.keeper}" if place.role == "duplicate" else f"bridge, kept beside {place.keeper}"
    return f"{place.cluster}: {role}{far}{why}" + (f"; {REASONS[place.reason]}" if place.reason else "")


def _neighbour(near: "Neighbour") -> str:
    said = [f"{near.id}: {near.path}", f"{near.width} x {near.height}", size_text(near.size_bytes)]
    said += [f"under {near.orientation}"] if near.orientation != "identity" else []
    said += ["the same bytes"] if near.same_file else []
    said += ["not compared with it by this run's settings"] if near.not_asked_for else []
    return f"{near.mse:11.4f} {', '.join(said)}"


def estimate_lines(cost: "Estimate") -> list[str]:
    model = cost.scale
    return [
        f"files       {cost.images:,}, {size_text(cost.bytes_read)}",
        f"pairs       {quantity(cost.pairs)}",
        f"index       {_duration(cost.index_hours)} at {cost.images_per_s:,.0f} files/s",
        f"compare     {_duration(cost.compare_hours_at_most)} at most, at {quantity(cost.pairs_per_s)} pairs/s",
        f"likely      {_duration(model.compare_hours)}: boxes leave {quantity(model.pairs_left)} pairs",
        f"tasks       {model.index_tasks:,} to index, {model.compare_tasks:,} to compare",
        f"memory      {size_text(cost.memory_bytes)}; of a cluster: client {size_text(model.client_bytes)}, "
        f"scheduler {size_text(model.scheduler_bytes)}, each worker {size_text(model.worker_bytes)}",
        f"disk        {size_text(cost.disk_bytes)}",
        *([f"too much    {model.breaks_first}: see docs/scale.md"] if model.breaks_first else []),
    ]


def _duration(hours: float) -> str:
    minutes = hours * 60
    return f"{hours:.1f} hours" if hours >= 1 else f"{minutes:.0f} minutes" if minutes >= 1 else f"{minutes * 60:.1f} s"


def demo_lines(result: "Demo") -> list[str]:
    lines = ["planted           found  of"]
    lines += [f"{row.kind:<16} {row.found:>6} {row.planted:>3}" for row in result.score.kinds]
    lines += [
        "",
        f"matches between pictures that are not duplicates: {result.score.false}",
        f"pictures  {result.pictures}{os.sep}",
        *summary_lines(result.summary),
    ]
    return lines
