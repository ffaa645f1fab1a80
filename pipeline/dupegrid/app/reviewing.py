"""What a person decides of the groups of a run: what is asked next, written as it is decided, and taken back."""

import shlex
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.app.review_tables import read_groups
from dupegrid.app.run import Run
from dupegrid.core.arrays import Ints, Pixels
from dupegrid.core.errors import UsageError
from dupegrid.core.text import shown
from dupegrid.images.recipe import encode_jpeg
from dupegrid.plans.decisions import append, append_table, in_force, read
from dupegrid.results.differences import Difference, difference
from dupegrid.results.groups import Filter, chosen, counts, members
from dupegrid.storage.schemas import DECISIONS, REASONS, RULES, VERDICTS

MOST_AT_ONCE: Final = 50  # groups of one answer
_THUMBS_KEPT: Final = 4096  # 50 MB of thumbnails of 64 pixels
_NEAREST_OF: Final = 64  # pictures of a group, among which the one is looked for through which a bridge is joined

Row = dict[str, Any]  # of DECISIONS
Pair = tuple[int, int]  # what two pictures hold, as numbers of Groups.content, the lower first


class Done(NamedTuple):
    """A decision that was written."""

    group: int
    pair: Pair
    row: Row
    before: Row | None  # the one that was in force


class Reviewing:
    """The review of a run. Its methods may be called from several threads; what they refuse is a UsageError."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.groups = read_groups(run)
        self._lock = threading.RLock()
        self._thumbs: OrderedDict[int, Pixels] = OrderedDict()
        rows = self.groups.rows["image"].to_numpy()
        by_image = np.argsort(rows, kind="stable")
        self._by_image = rows[by_image], by_image
        self._decided: dict[int, dict[Pair, Row]] = {}  # group -> pair -> the decision in force
        self._finished = np.zeros(len(self.groups), bool)
        self._done: list[list[Done]] = []
        self._asked: tuple[Filter, Ints, Any] | None = None
        earlier = in_force(read(run.run_dir))
        if len(earlier):
            self._take_up(earlier)

    def about(self) -> dict[str, Any]:
        """What the page says of the run, and the words that stand for those of the tables."""
        groups = self.groups
        return {
            "run": shown(self.run.path),
            "groups": len(groups),
            "bytes": int(groups.freed.sum()),
            "equal_clusters": groups.equal_clusters,
            "equal_bytes": groups.equal_bytes,
            "threshold": self.run.config.threshold,
            "side": self.run.config.thumb,
            "words": {"reason": REASONS, "rule": RULES},
            "counts": counts(groups),
        }

    def ask(self, given: Any, start: int, count: int) -> dict[str, Any]:
        """Some groups of those that a filter asks for, from a place among them; a filter is taken anew at place 0."""
        asked = Filter.of(given)
        if not (0 <= start < 1 << 40 and 0 < count <= MOST_AT_ONCE):
            raise UsageError("so many groups are not given at once")
        with self._lock:
            if self._asked is None or self._asked[0] != asked or start == 0:
                self._asked = (asked, *chosen(self.groups, asked, self._finished))
            found = self._asked[1]
            here = [self._group(int(group)) for group in found[start : start + count]]
            return {"total": len(found), "start": start, "groups": here, **self.progress()}

    def progress(self) -> dict[str, Any]:
        """How many groups are decided, and what the others would free."""
        return {
            "finished": int(self._finished.sum()),
            "left_bytes": int(self.groups.freed[~self._finished].sum()),
            "may_go_back": bool(self._done),
        }

    def _group(self, group: int) -> dict[str, Any]:
        start, end = self.groups.first[group : group + 2]
        content = self.groups.content[start:end]
        decided = self._decided.get(group, {})
        known = {number for pair in decided for number in pair}
        undecided = np.array([number not in known for number in content.tolist()])
        pictures, left_out = members(self.groups, group, undecided)
        return {
            "group": group,
            "cluster": self.groups.rows["cluster"][start].as_py(),
            "frees": int(self.groups.freed[group]),
            "members": pictures,
            "left_out": left_out,
            "finished": bool(self._finished[group]),
            "decided": [_said(row, self._images_in(group, pair)) for pair, row in decided.items()],
        }

    def _images_in(self, group: int, pair: Pair) -> dict[str, int]:
        """By file hash, the images of a group that a pair is of."""
        start, end = self.groups.first[group : group + 2]
        content = self.groups.content[start:end].tolist()
        ids = [int(self.groups.rows["image"][start + content.index(number)].as_py()) for number in pair]
        return {self._hash(id): id for id in ids}

    def compare(self, a: int, b: int) -> Difference:
        """How two pictures of a group differ."""
        self._group_of(a, b)
        first, second = self.thumbs([a, b])
        return difference(first, second, self.run.config.orientations)

    def through(self, bridge: int) -> tuple[int, float] | None:
        """Of a group of at most 64, the picture that is nearest to a bridge but for the one to keep, and their MSE."""
        ids = [id for id in self.groups.ids(self._group_of(bridge, bridge))[1:].tolist() if id != bridge]
        if not ids or len(ids) >= _NEAREST_OF:
            return None
        found = [(id, self.compare(bridge, id).mse) for id in ids]
        return min(found, key=lambda other: other[1])

    def decide(self, a: int, b: int, decision: str, keeper: int | None) -> dict[str, Any]:
        """Write what was decided of two pictures of a group; it is on disk when this returns."""
        group = self._group_of(a, b)
        if decision not in VERDICTS or decision == "undecided":
            raise UsageError("this is no decision")
        if (keeper is not None) != (decision == "same") or keeper not in (None, a, b):
            raise UsageError("the one to keep is one of the two, of pictures that are the same")
        pair = self._pair(a, b)
        hash_a, hash_b = sorted((self._hash(a), self._hash(b)))
        kept = None if keeper is None else self._hash(keeper)
        row = {"hash_a": hash_a, "hash_b": hash_b, "decision": decision, "keeper": kept, "by": "review"}
        with self._lock:
            append(self.run.run_dir, [row])
            self._done.append([self._note(group, pair, row)])
            return {"group": group, "group_finished": bool(self._finished[group]), **self.progress()}

    def accept(self, given: Any, expected: int) -> dict[str, Any]:
        """Write that the rules are right for all duplicates that a filter is about and that nobody has decided.

        UsageError where these are not as many as expected: the page says how many before it is asked to.
        """
        with self._lock:
            rows = self._acceptable(Filter.of(given))
            if len(rows) != expected:
                raise UsageError(f"there are {len(rows)} of these by now, not {expected}: look again")
            ids = [self.groups.rows[name].take(pa.array(rows)) for name in ("image", "keeper")]
            hashes = [self.groups.images["file_hash"].take(of).to_pylist() for of in ids]
            decisions = [_same(*two) for two in zip(*hashes, strict=True)]
            self._write_all(decisions)
            of = self.groups.group_of[rows].tolist()
            pairs = [self._pair(*two) for two in zip(*(of.to_pylist() for of in ids), strict=True)]
            self._done.append([self._note(*each) for each in zip(of, pairs, decisions, strict=True)])
            return {"accepted": len(rows), **self.progress()}

    def acceptable(self, given: Any) -> dict[str, int]:
        """How many pairs `accept` would decide, and in how many groups."""
        with self._lock:
            rows = self._acceptable(Filter.of(given))
            return {"pairs": len(rows), "groups": len(np.unique(self.groups.group_of[rows]))}

    def _acceptable(self, asked: Filter) -> Ints:
        about = chosen(self.groups, asked, self._finished)[1]
        about = about & pc.equal(self.groups.rows["role"], "duplicate").to_numpy()
        about &= pc.is_valid(self.groups.images["file_hash"].take(self.groups.rows["image"])).to_numpy()
        about &= pc.is_valid(self.groups.images["file_hash"].take(self.groups.rows["keeper"])).to_numpy()
        of, content = self.groups.group_of, self.groups.content
        for group, pairs in self._decided.items():
            known = {number for pair in pairs for number in pair}
            start, end = self.groups.first[group : group + 2]
            about[start:end] &= ~np.isin(content[start:end], list(known))
        same = content == content[self.groups.first[of]]
        return np.flatnonzero(about & ~same)

    def back(self) -> dict[str, Any]:
        """Take back the last decision of this review, whole; what was in force before is again."""
        with self._lock:
            if not self._done:
                raise UsageError("there is nothing to take back")
            batch = self._done[-1]
            rows = [_restoring(done) for done in batch]
            self._write_all(rows)
            self._done.pop()
            for done, row in zip(batch, rows, strict=True):
                self._note(done.group, done.pair, row)
            one = batch[0].group if len(batch) == 1 else None
            return {"taken_back": len(batch), "group": one, **self.progress()}

    def _write_all(self, rows: Sequence[Row]) -> None:
        if len(rows) < 1000:
            append(self.run.run_dir, rows)
            return
        now = datetime.now(UTC)
        stamped = [{**row, "decided_at": now + k * timedelta(microseconds=1)} for k, row in enumerate(rows)]
        append_table(self.run.run_dir, pa.Table.from_pylist(stamped, DECISIONS))

    def totals(self) -> dict[str, Any]:
        """What has been decided, by words of VERDICTS, and the commands that act on it."""
        with self._lock:
            rows = [row for pairs in self._decided.values() for row in pairs.values()]
            said = {word: sum(row["decision"] == word for row in rows) for word in VERDICTS if word != "undecided"}
            run = shlex.quote(shown(self.run.path))
            commands = [f"dupegrid plan {run}", f"dupegrid apply {run}"]
            return {"decided": said, "commands": commands, **self.progress()}

    def thumb(self, id: int) -> bytes:
        """The thumbnail of a picture in a group, a JPEG file."""
        self._group_of(id, id)
        return encode_jpeg(self.thumbs([id])[0])

    def thumbs(self, ids: Sequence[int]) -> list[Pixels]:
        """Thumbnails, (S, S, 3) each."""
        with self._lock:
            missing = [id for id in dict.fromkeys(ids) if id not in self._thumbs]
            if missing:
                pixels = self.run.thumbs_of(np.array(missing, np.int64))
                self._thumbs.update(zip(missing, pixels, strict=True))
            found = [self._thumbs[id] for id in ids]
            while len(self._thumbs) > _THUMBS_KEPT:
                self._thumbs.popitem(last=False)
            return found

    def picture(self, id: int) -> Row:
        """What is known of a picture in a group: its row of images.parquet."""
        self._group_of(id, id)
        row: Row = self.groups.images.slice(id, 1).to_pylist()[0]
        return row

    def _group_of(self, a: int, b: int) -> int:
        """The group that holds both images. UsageError where none does."""
        image, row = self._by_image
        at = np.searchsorted(image, [a, b])
        if not len(image) or not np.array_equal(image[np.minimum(at, len(image) - 1)], [a, b]):
            raise UsageError("there is no such picture in a group")
        of = np.searchsorted(self.groups.first, row[at], side="right") - 1
        if of[0] != of[1]:
            raise UsageError("the two pictures are of two groups")
        return int(of[0])

    def _hash(self, id: int) -> str:
        found = self.groups.images["file_hash"][id].as_py()
        if found is None:
            raise UsageError("this picture has no hash to know it by: run 'dupegrid run' again")
        return str(found)

    def _pair(self, a: int, b: int) -> Pair:
        """What two pictures in groups hold. UsageError where they hold the same."""
        image, row = self._by_image
        x, y = self.groups.content[row[np.searchsorted(image, [a, b])]].tolist()
        if x == y:
            raise UsageError("the two are equal byte for byte: there is nothing to decide")
        return min(x, y), max(x, y)

    def _take_up(self, rows: pa.Table) -> None:
        """Take up decisions that were there, of pictures in one group."""
        hashes = self.groups.images["file_hash"].take(self.groups.rows["image"]).combine_chunks()
        at = [pc.index_in(rows[name], hashes).fill_null(-1).to_numpy() for name in ("hash_a", "hash_b")]
        here = np.flatnonzero((at[0] >= 0) & (at[1] >= 0))
        of = [np.searchsorted(self.groups.first, side[here], side="right") - 1 for side in at]
        here = here[of[0] == of[1]]
        content = self.groups.content
        for group, x, y, row in zip(
            (np.searchsorted(self.groups.first, at[0][here], side="right") - 1).tolist(),
            content[at[0][here]].tolist(),
            content[at[1][here]].tolist(),
            rows.take(pa.array(here)).to_pylist(),
            strict=True,
        ):
            self._note(group, (min(x, y), max(x, y)), row)

    def _note(self, group: int, pair: Pair, row: Row) -> Done:
        """Have a decision in force."""
        start, end = self.groups.first[group : group + 2]
        pairs = self._decided.setdefault(group, {})
        before = pairs.pop(pair, None)
        if row["decision"] != "undecided":
            pairs[pair] = row
        self._finished[group] = _joined(self.groups.content[start:end].tolist(), pairs)
        return Done(group, pair, row, before)


def _restoring(done: Done) -> Row:
    """What puts in force again what was before a decision."""
    row = done.before or {**done.row, "decision": "undecided", "keeper": None}
    return {key: value for key, value in row.items() if key != "decided_at"}


def _same(image: str, keeper: str) -> Row:
    hash_a, hash_b = sorted((image, keeper))
    return {"hash_a": hash_a, "hash_b": hash_b, "decision": "same", "keeper": keeper, "by": "review"}


def _said(row: Row, images: dict[str, int]) -> dict[str, Any]:
    """A decision as the page is told of it, by ids."""
    return {
        "a": images[row["hash_a"]],
        "b": images[row["hash_b"]],
        "decision": row["decision"],
        "keeper": images.get(row["keeper"]),
    }


def _joined(content: Sequence[int], pairs: Iterable[Pair]) -> bool:
    """Whether decisions join all that a group holds: then no pair has to be asked for any more."""
    part = {number: number for number in content}

    def found(number: int) -> int:
        while part[number] != number:
            part[number] = number = part[part[number]]
        return number

    for a, b in pairs:
        part[found(a)] = found(b)
    return len({found(number) for number in content}) == 1
