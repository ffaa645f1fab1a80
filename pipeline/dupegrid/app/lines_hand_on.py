"""The results of the verbs that hand on, as lines for people."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dupegrid.results.answers import Export


def export_lines(found: "Export") -> list[str]:
    counts = [f"{name.replace('_', ' ')} {count:,}" for name, count in found.counts.items()]
    return [f"{found.format:<11} {', '.join(counts)}", f"to          {found.to}"]
