"""What the page of the review asks, by the names of its calls -> `Reviewing`; nothing that it sends is trusted."""

from collections.abc import Mapping
from typing import Any, Final

from dupegrid.app.reviewing import Reviewing
from dupegrid.core.errors import UsageError

WRITING: Final = ("decide", "accept", "back", "plan")  # calls that write
_TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "about": (),
    "groups": ("filter", "choice", "start", "count"),
    "pair": ("a", "b"),
    "through": ("a",),
    "acceptable": ("filter",),
    "totals": (),
    "decide": ("a", "b", "decision", "keeper"),
    "accept": ("filter", "pairs"),
    "back": (),
    "plan": (),
}


def answer_call(reviewing: Reviewing, name: str, given: Any) -> dict[str, Any]:
    """The answer to a call of the page. UsageError where it is none."""
    if not isinstance(given, dict):
        raise UsageError("a call is an object")
    try:
        values = [_read(given[argument], argument) for argument in _TAKES[name]]
    except KeyError as error:
        raise UsageError(f"a call lacks {error}") from None
    match name:
        case "groups":
            return reviewing.ask(*values)
        case "pair":
            found = reviewing.compare(*values)
            return {"mse": found.mse, "turn": found.turn, "boxes": found.boxes}
        case "through":
            nearest = reviewing.through(*values)
            return {"image": nearest and nearest[0], "mse": nearest and nearest[1]}
    answer: dict[str, Any] = getattr(reviewing, name)(*values)
    return answer


def _read(value: Any, name: str) -> Any:
    """An argument; a filter is looked at by whoever takes it."""
    if name == "filter" or (name == "keeper" and value is None):
        return value
    if name == "decision":
        return str(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
        raise UsageError(f"{name} is no number of that kind")
    return value
