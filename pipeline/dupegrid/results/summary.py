"""What a run found, in a few numbers: at its threshold, or at another."""

from collections import Counter
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.arrays import Bools
from dupegrid.pairs.batches import Matches
from dupegrid.results.answers import CutSummary, Summary
from dupegrid.results.freed import freed_of
from dupegrid.results.keepers import Keeping
from dupegrid.results.relations import counted_relations
from dupegrid.results.rows import Rows, representatives
from dupegrid.results.run_like import RunLike
from dupegrid.results.stored import clusters_of, images_of, relations_if_told


def summary_of(run: RunLike) -> Summary:
    """A run in a few numbers."""
    config, receipt, near = run.config, run.receipt, run.match_batches.near(run.config.threshold)
    told, words = relations_if_told(run), []
    if told is not None:
        words = told["relation"].filter(pc.less_equal(run.match_scores["score"], config.threshold)).to_pylist()
    of_path, there = _already_there(images_of(run), near) if config.against else (None, None)
    return Summary(
        run=str(run.path),
        report=str(run.path / "report.html"),
        images=receipt.images.found,
        ok=receipt.images.ok,
        failed=receipt.images.failed,
        removed=receipt.images.removed,
        unreadable_folders=receipt.unreadable_folders,
        links_left_alone=receipt.links_left_alone,
        pairs=receipt.pairs["total"],
        **asdict(cut_summary(config.threshold, images_of(run), near, clusters_of(run))),
        not_asked_for=receipt.pairs["other_group"] + receipt.pairs["filter"],
        relations=counted_relations(words),
        nothing_under=Keeping.of(config).nothing_under(images_of(run)),
        pictures_of_path=of_path,
        already_there=there,
    )


def cut_summary(threshold: float, images: pa.Table | Rows, near: Matches, clusters: pa.Table | Rows) -> CutSummary:
    """What clusters by a threshold come to, and the matches `near` that are at or under it."""
    roles, last = Counter[str](), -1
    for part in Rows.of(clusters).each(["cluster", "role"]):
        roles.update({entry["values"]: entry["counts"] for entry in pc.value_counts(part["role"]).to_pylist()})
        last = part["cluster"].to_numpy().max(initial=last)
    return CutSummary(
        threshold=threshold,
        matches=near.count(),
        clusters=int(last) + 1,
        duplicates=roles["duplicate"],
        bridges=roles["bridge"],
        duplicate_bytes=int(freed_of(images, clusters).sum()),
    )


def _already_there(images: Rows, near: Matches) -> tuple[int, int]:
    """Of an A-versus-B run: how many pictures of PATH there are, and how many have a match on the other side."""

    def is_first(part: pa.Table) -> Bools:
        both = pc.and_(pc.equal(part["status"], "ok"), pc.equal(part["group"], "a"))
        return both.fill_null(False).to_numpy()  # type: ignore[no-any-return]

    first: Bools = images.made(["status", "group"], is_first, bool)
    matched = np.zeros(len(first), bool)
    for batch in near:
        matched[batch.a] = matched[batch.b] = True
    return int(first.sum()), int((first & matched[representatives(images)]).sum())
