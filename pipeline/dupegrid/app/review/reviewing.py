"""What a person decides of the groups of a run: what is asked next, written as it is decided, and taken back."""

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.app.command.lines_plan import plan_lines
from dupegrid.app.plan import plan
from dupegrid.app.review.rows import Done, Pair, Row, decision_by_ids, in_groups, is_joined, restoring_row
from dupegrid.app.review.tables import read_tables
from dupegrid.app.review.thumbs import KeptThumbs
from dupegrid.app.run import Run
from dupegrid.core.arrays import Ints
from dupegrid.core.errors import UsageError
from dupegrid.core.text import quoted
from dupegrid.images.recipe import encode_jpeg
from dupegrid.plans.decisions import append, decided_row, in_force, read
from dupegrid.results.drawn.differences import difference
from dupegrid.results.freed import freed_of
from dupegrid.results.groups import Filter, Groups, chosen, counts, groups_of, members, rows_of_first
from dupegrid.results.stored import relations_if_told
from dupegrid.storage.words import VERDICTS

MOST_AT_ONCE: Final = 50  # groups of one answer
FIRST: Final = 1000  # clusters that are looked into at once: those of a large run take seconds
_AFTER_S: Final = 3.0  # the others, or when the first have been asked for
_CHOICES: Final = 8  # that are remembered, those that were asked for last; each takes up to 8 bytes a group
_NEAREST_OF: Final = 64  # pictures of a group, among which the one is looked for through which a bridge is joined


class Reviewing:
    """The review of a run. Its methods may be called from several threads; what they refuse is a UsageError."""

    def __init__(self, run: Run) -> None:
        """Takes up the groups that free the most at once, the others while these are looked at."""
        self.run = run
        self._lock = threading.RLock()
        self._thumbs = KeptThumbs(run.thumbs_of)
        self._done: list[list[Done]] = []
        self.groups: Groups
        self._asked: dict[tuple[int, Filter], Ints] = {}  # by choice: groups in their places
        self._is_looked_at = threading.Event()
        self._whole: Future[None] = Future()  # whether all groups are there, or why not
        images, clusters = read_tables(run)
        freed = freed_of(images, clusters)
        rows = rows_of_first(clusters, freed, FIRST)
        self._take(groups_of(images, clusters.take(pa.array(rows)), freed[rows], None))
        rest = partial(self._take_all, images, clusters, freed)
        if len(rows) < len(clusters) and len(self.groups) >= MOST_AT_ONCE:
            threading.Thread(target=rest, args=(_AFTER_S,), name="review-groups", daemon=True).start()
        else:
            rest(0.0)
            self._whole.result()

    def _take_all(self, images: pa.Table, clusters: pa.Table, freed: Ints, after_s: float) -> None:
        try:
            self._is_looked_at.wait(after_s)
            self._take(groups_of(images, clusters, freed, relations_if_told(self.run)))
            self._whole.set_result(None)
        except Exception as error:  # whoever waits for it is told
            self._whole.set_exception(error)

    def _take(self, groups: Groups) -> None:
        """Go on with groups, of which those so far are the first."""
        image = groups.rows["image"].to_numpy()
        by_image = np.argsort(image, kind="stable")
        hashes = groups.images["file_hash"].take(groups.rows["image"])
        with self._lock:
            so_far = len(self.groups) if self._asked else 0
            self.groups, self._by_image = groups, (image[by_image], by_image)
            self._decided: dict[int, dict[Pair, Row]] = {}  # group -> pair -> the decision in force
            self._finished = np.zeros(len(groups), bool)
            earlier = in_force(read(self.run.run_dir))
            self._note(in_groups(earlier, hashes.combine_chunks(), groups.first))
            more = so_far + np.flatnonzero(~self._finished[so_far:])
            self._asked = {asked: np.append(here, more) for asked, here in self._asked.items()}  # places stay

    def about(self) -> dict[str, Any]:
        """What the page says of the run."""
        self._whole.result()
        groups = self.groups
        return {
            "groups": len(groups),
            "equal_clusters": groups.equal_clusters,
            "counts": counts(groups),
            **self.progress(),
        }

    def ask(self, given: Any, choice: int, start: int, count: int) -> dict[str, Any]:
        """Some groups of those that a filter asks for, from a place among them.

        Their places stay as they were when the filter was first asked for with that number of a `choice`, of which each
        page makes its own.
        """
        asked = Filter.of(given)
        if not (0 <= start < 1 << 40 and 0 < count <= MOST_AT_ONCE):
            raise UsageError("so many groups are not given at once")
        if asked != Filter() or start + count > len(self.groups):
            self._whole.result()
        with self._lock:
            found = self._asked.pop((choice, asked), None)
            found = chosen(self.groups, asked, self._finished)[0] if found is None else found
            self._asked[choice, asked] = found
            for oldest in list(self._asked)[:-_CHOICES]:
                del self._asked[oldest]
            here = [self._group(int(group)) for group in found[start : start + count]]
            self._is_looked_at.set()
            return {"total": len(found), "whole": self._whole.done(), "groups": here, **self.progress()}

    def progress(self) -> dict[str, Any]:
        """How many groups are decided, and what the others would free."""
        return {"finished": int(self._finished.sum()), "left_bytes": int(self.groups.freed[~self._finished].sum())}

    def _group(self, group: int) -> dict[str, Any]:
        hashes = self._hashes(group)
        decided = self._decided.get(group, {})
        known = {hash for pair in decided for hash in pair}
        undecided = np.array([hash not in known for hash in hashes])
        pictures, left_out = members(self.groups, group, undecided)
        return {
            "group": group,
            "frees": int(self.groups.freed[group]),
            "members": pictures,
            "left_out": left_out,
            "finished": bool(self._finished[group]),
            "decided": [decision_by_ids(row, self._images_by_hash(group)) for row in decided.values()],
        }

    def _hashes(self, group: int) -> list[str]:
        """The hashes of what a group holds; what has none is like no other."""
        ids = self.groups.ids(group)
        hashes = self.groups.images["file_hash"].take(pa.array(ids)).to_pylist()
        return [hash or f"image {id}" for hash, id in zip(hashes, ids.tolist(), strict=True)]

    def _images_by_hash(self, group: int) -> dict[str, int]:
        return dict(zip(self._hashes(group), self.groups.ids(group).tolist(), strict=True))

    def pair(self, a: int, b: int) -> dict[str, Any]:
        """How two pictures of a group differ, as a record of `Difference`."""
        self._group_of(a, b)
        first, second = self._thumbs.take([a, b])
        return asdict(difference(first, second, self.run.config.orientations))

    def through(self, bridge: int) -> dict[str, Any]:
        """Of a group of at most 64, the picture that is nearest to a bridge but for the one to keep, and their MSE."""
        ids = [id for id in self.groups.ids(self._group_of(bridge, bridge))[1:].tolist() if id != bridge]
        if not ids or len(ids) >= _NEAREST_OF:
            return {"image": None, "mse": None}
        found = [{"image": id, "mse": self.pair(bridge, id)["mse"]} for id in ids]
        return min(found, key=lambda other: float(other["mse"]))

    def decide(self, a: int, b: int, decision: str, keeper: int | None) -> dict[str, Any]:
        """Write what was decided of two pictures of a group; it is on disk when this returns."""
        group = self._group_of(a, b)
        if decision not in VERDICTS or decision == "undecided":
            raise UsageError("this is no decision")
        if (keeper is not None) != (decision == "same") or keeper not in (None, a, b):
            raise UsageError("the one to keep is one of the two, of pictures that are the same")
        kept = None if keeper is None else self._hash(keeper)
        row = decided_row(self._hash(a), self._hash(b), decision, kept, "review")
        with self._lock:
            append(self.run.run_dir, [row])
            self._done.append(self._note([(group, row)]))
            return {"group": group, "group_finished": bool(self._finished[group]), **self.progress()}

    def accept(self, given: Any, expected: int) -> dict[str, Any]:
        """Write that the rules are right for all duplicates that a filter is about and that nobody has decided.

        UsageError where these are not as many as expected: the page says how many before it is asked to.
        """
        self._whole.result()
        with self._lock:
            rows = self._acceptable(Filter.of(given))
            if len(rows) != expected:
                raise UsageError(f"there are {len(rows)} of these by now, not {expected}: look again")
            hashes = [self._files_of(rows, name).to_pylist() for name in ("image", "keeper")]
            decisions = [
                decided_row(image, keeper, "same", keeper, "review") for image, keeper in zip(*hashes, strict=True)
            ]
            append(self.run.run_dir, decisions)
            of = self.groups.group_of[rows].tolist()
            self._done.append(self._note(zip(of, decisions, strict=True)))
            return {"accepted": len(rows), **self.progress()}

    def acceptable(self, given: Any) -> dict[str, int]:
        """How many pairs `accept` would decide, and in how many groups."""
        self._whole.result()
        with self._lock:
            rows = self._acceptable(Filter.of(given))
            return {"pairs": len(rows), "groups": len(np.unique(self.groups.group_of[rows]))}

    def _acceptable(self, asked: Filter) -> Ints:
        about = chosen(self.groups, asked, self._finished)[1]
        rows = np.flatnonzero(about & pc.equal(self.groups.rows["role"], "duplicate").to_numpy())
        image, keeper = (self._files_of(rows, name) for name in ("image", "keeper"))
        rows = rows[pc.fill_null(pc.not_equal(image, keeper), False).to_numpy()]
        known = [hash for pairs in self._decided.values() for pair in pairs for hash in pair]
        if known:
            rows = rows[~pc.is_in(self._files_of(rows, "image"), pa.array(known)).to_numpy()]
        return np.asarray(rows, np.int64)

    def _files_of(self, rows: Ints, name: str) -> pa.ChunkedArray:
        """The hashes of the images, or of their keepers, in some rows of the groups."""
        return self.groups.images["file_hash"].take(self.groups.rows[name].take(pa.array(rows)))

    def back(self) -> dict[str, Any]:
        """Take back the last decision of this review, whole; what was in force before is again."""
        with self._lock:
            if not self._done:
                raise UsageError("there is nothing to take back")
            batch = self._done[-1]
            rows = [restoring_row(done) for done in batch]
            append(self.run.run_dir, rows)
            self._done.pop()
            self._note((done.group, row) for done, row in zip(batch, rows, strict=True))
            one = batch[0].group if len(batch) == 1 else None
            return {"taken_back": len(batch), "group": one, **self.progress()}

    def totals(self) -> dict[str, Any]:
        """What has been decided, by words of VERDICTS, and the commands that act on it."""
        self._whole.result()
        with self._lock:
            rows = [row for pairs in self._decided.values() for row in pairs.values()]
            said = {word: sum(row["decision"] == word for row in rows) for word in VERDICTS if word != "undecided"}
            run = quoted(str(self.run.path))
            commands = [f"dupegrid plan {run}", f"dupegrid apply {run}"]
            equal = {"equal_clusters": self.groups.equal_clusters, "equal_bytes": self.groups.equal_bytes}
            return {"decided": said, "commands": commands, "groups": len(self.groups), **equal, **self.progress()}

    def plan(self) -> dict[str, Any]:
        """Make the plan, as `dupegrid plan` does, and say what it comes to."""
        return {"lines": plan_lines(plan(self.run.path))}

    def thumb(self, id: int) -> bytes:
        """The thumbnail of a picture in a group, a JPEG file."""
        self._group_of(id, id)
        return encode_jpeg(self._thumbs.take([id])[0])

    def picture(self, id: int) -> Row:
        """What is known of a picture in a group: its row of images.parquet."""
        self._group_of(id, id)
        row: Row = self.groups.images.slice(id, 1).to_pylist()[0]
        return row

    def _group_of(self, a: int, b: int) -> int:
        """The group that holds both images. UsageError where none does."""
        with self._lock:
            (image, row), first = self._by_image, self.groups.first
        at = np.searchsorted(image, [a, b])
        if not len(image) or not np.array_equal(image[np.minimum(at, len(image) - 1)], [a, b]):
            raise UsageError("there is no such picture in a group")
        of = np.searchsorted(first, row[at], side="right") - 1
        if of[0] != of[1]:
            raise UsageError("the two pictures are of two groups")
        return int(of[0])

    def _hash(self, id: int) -> str:
        found = self.groups.images["file_hash"][id].as_py()
        if found is None:
            raise UsageError("this picture has no hash to know it by: run 'dupegrid run' again")
        return str(found)

    def _note(self, decisions: Iterable[tuple[int, Row]]) -> list[Done]:
        """Take decisions into account, each with the number of its group; what each of them replaced."""
        done = []
        for group, row in decisions:
            pair = (row["hash_a"], row["hash_b"])
            pairs = self._decided.setdefault(group, {})
            done.append(Done(group, row, pairs.pop(pair, None)))
            if row["decision"] != "undecided":
                pairs[pair] = row
        for group in {each.group for each in done}:
            self._finished[group] = is_joined(self._hashes(group), self._decided[group])
        return done
