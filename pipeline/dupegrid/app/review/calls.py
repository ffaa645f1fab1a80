"""What the page of the review asks, by the names of its calls -> `Reviewing`; nothing that it sends is trusted."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from dupegrid.app.review.reviewing import Reviewing
from dupegrid.core.errors import UsageError

WRITING: Final = ("decide", "accept", "back", "plan")  # calls that write
_CALLS: Final[Mapping[str, tuple[Callable[..., dict[str, Any]], tuple[str, ...]]]] = {  # what does it, what it takes
    "about": (Reviewing.about, ()),
    "groups": (Reviewing.ask, ("filter", "choice", "start", "count")),
    "pair": (Reviewing.pair, ("a", "b")),
    "through": (Reviewing.through, ("a",)),
    "acceptable": (Reviewing.acceptable, ("filter",)),
    "totals": (Reviewing.totals, ()),
    "decide": (Reviewing.decide, ("a", "b", "decision", "keeper")),
    "accept": (Reviewing.accept, ("filter", "pairs")),
    "back": (Reviewing.back, ()),
    "plan": (Reviewing.plan, ()),
}


def answer_call(reviewing: Reviewing, name: str, given: Any) -> dict[str, Any]:
    """The answer to a call of the page. UsageError where it is none."""
    if not isinstance(given, dict):
        raise UsageError("a call is an object")
    try:
        act, takes = _CALLS[name]
        values = [_read(given[argument], argument) for argument in takes]
    except KeyError as error:
        raise UsageError(f"a call lacks {error}") from None
    return act(reviewing, *values)


def _read(value: Any, name: str) -> Any:
    """An argument; a filter is looked at by whoever takes it."""
    if name == "filter" or (name == "keeper" and value is None):
        return value
    if name == "decision":
        return str(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
        raise UsageError(f"{name} is no number of that kind")
    return value
