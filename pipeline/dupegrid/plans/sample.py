"""Some pairs of a plan that one rule decided, to be looked at before the rule is believed. Pure."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dupegrid.core.errors import UsageError
from dupegrid.core.text import printable


def sample(plan: pa.Table, count: int, rule: str | None = None) -> tuple[str, pa.Table]:
    """A rule, and up to `count` rows of a plan whose files would go by it, any of them: the same each time.

    Without a rule the one that decides most files. Left out are files that are equal to their keepers byte for byte, as
    there is nothing to decide. UsageError where the rule decides no other file.
    """
    goes = pc.and_(pc.not_equal(plan["action"], "keep"), pc.is_valid(plan["rule"]))
    unlike = pc.not_equal(plan["file_hash"], plan["keeper_file_hash"])
    rows = plan.filter(pc.and_(goes, unlike.fill_null(False)))
    rules = Counter(rows["rule"].to_pylist())
    if not rules:
        raise UsageError(
            "no rule decides a file that would go and is not equal to its keeper: there is nothing to sample"
        )
    if rule is None:
        rule = rules.most_common(1)[0][0]
    if rule not in rules:
        known = ", ".join(rules)
        raise UsageError(f"no file would go by the rule {printable(rule)!r}: there are {known}")
    rows = rows.filter(pc.equal(rows["rule"], rule))
    some = np.random.default_rng(0).permutation(len(rows))[:count]
    return rule, rows.take(pa.array(np.sort(some)))
