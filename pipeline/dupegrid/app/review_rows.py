"""Decisions of the pairs of a group, as rows of decisions.parquet; pure."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from dupegrid.core.errors import UsageError

Row = dict[str, Any]  # of DECISIONS
Pair = tuple[str, str]  # the hashes of two files, the lower first


class Done(NamedTuple):
    """A decision that was written."""

    group: int
    row: Row
    before: Row | None  # the one that was in force


def restoring(done: Done) -> Row:
    """What puts in force again what was before a decision."""
    row = done.before or {**done.row, "decision": "undecided", "keeper": None}
    return {key: value for key, value in row.items() if key != "decided_at"}


def decided_row(a: str, b: str, decision: str, keeper: str | None) -> Row:
    if a == b:
        raise UsageError("the two are equal byte for byte: there is nothing to decide")
    hash_a, hash_b = sorted((a, b))
    return {"hash_a": hash_a, "hash_b": hash_b, "decision": decision, "keeper": keeper, "by": "review"}


def said(row: Row, images: dict[str, int]) -> dict[str, Any]:
    """A decision as the page is told of it, by ids."""
    return {
        "a": images[row["hash_a"]],
        "b": images[row["hash_b"]],
        "decision": row["decision"],
        "keeper": images.get(row["keeper"]),
    }


def joined(hashes: Sequence[str], pairs: Iterable[Pair]) -> bool:
    """Whether decisions join all that a group holds: then no pair has to be asked for any more."""
    part = {hash: hash for hash in hashes}

    def found(hash: str) -> str:
        while part[hash] != hash:
            part[hash] = hash = part[part[hash]]
        return hash

    for a, b in pairs:
        part[found(a)] = found(b)
    return len({found(hash) for hash in hashes}) == 1
