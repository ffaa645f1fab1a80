"""What a stage could not finish: pieces of work that were set aside, as unfinished.json says until they are done."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from dupegrid.core.errors import DamagedError, UnfinishedError
from dupegrid.storage.files import read_json, write_json
from dupegrid.storage.ours import remove
from dupegrid.storage.run_dir import RunDir

_LONGEST: Final = 300  # characters of a problem in the line of an error


@dataclass(frozen=True)
class Missing:
    """A piece of work that was set aside: 'chunk 7', of how many pictures or pairs, and what the problem was."""

    stage: str
    what: str
    count: int
    unit: str
    problem: str


def check_finished(run_dir: RunDir, stage: str, unit: str, aside: Sequence[tuple[str, int, str]]) -> None:
    """Write down what is missing of a stage, or that nothing is any more. UnfinishedError where something is.

    `aside` are the pieces that were set aside, as in `Missing`: what, of how many of a unit, and the problem.
    """
    missing = [Missing(stage, what, count, unit, problem) for what, count, problem in aside]
    if not missing:
        if any(piece.stage == stage for piece in missing_in(run_dir)):
            remove(run_dir.unfinished)
        return
    write_json(run_dir.unfinished, {"missing": [asdict(piece) for piece in missing]})
    first, more = missing[0], len(missing) - 1
    others = f", and {more:,} more like it ('dupegrid status' lists them)" if more else ""
    raise UnfinishedError(
        f"{stage}: {sum(piece.count for piece in missing):,} {unit} are missing, those of {first.what} "
        f"({first.problem[:_LONGEST]}){others}; all else is finished: run the same command again to go on there"
    )


def missing_in(run_dir: RunDir) -> list[Missing]:
    """What the last run could not finish; nothing where it finished all, or where that cannot be read."""
    try:
        return [_checked(Missing(**entry)) for entry in read_json(run_dir.unfinished)["missing"]]
    except (DamagedError, KeyError, TypeError, ValueError):
        return []


def _checked(piece: Missing) -> Missing:
    if not isinstance(piece.count, int) or not all(isinstance(value, str) for value in (piece.what, piece.problem)):
        raise ValueError("it is not what was written there")
    return piece
