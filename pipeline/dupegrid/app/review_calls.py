"""What the page of the review asks, by the names of its calls -> `Reviewing`; nothing that it sends is trusted."""

from collections.abc import Mapping
from typing import Any, Final

from dupegrid.app.reviewing import Reviewing
from dupegrid.core.errors import UsageError

WRITING: Final = ("decide", "accept", "back", "plan")  # calls that write


def answer_call(reviewing: Reviewing, name: str, given: Any) -> dict[str, Any]:
    """The answer to a call of the page. UsageError where it is none."""
    if not isinstance(given, dict):
        raise UsageError("a call is an object")
    number = {key: _whole(given, key) for key in ("start", "count", "a", "b", "pairs") if key in given}
    try:
        match name:
            case "groups":
                return reviewing.ask(given["filter"], number["start"], number["count"])
            case "pair":
                found = reviewing.compare(number["a"], number["b"])
                return {"mse": found.mse, "turn": found.turn, "boxes": found.boxes}
            case "through":
                nearest = reviewing.through(number["a"])
                return {"image": nearest and nearest[0], "mse": nearest and nearest[1]}
            case "decide":
                keeper = None if given["keeper"] is None else _whole(given, "keeper")
                return reviewing.decide(number["a"], number["b"], str(given["decision"]), keeper)
            case "acceptable":
                return dict(reviewing.acceptable(given["filter"]))
            case "accept":
                return reviewing.accept(given["filter"], number["pairs"])
        plain = {name: getattr(reviewing, name) for name in ("about", "totals", "back", "plan")}
        answer: dict[str, Any] = plain[name]()
        return answer
    except KeyError as error:
        raise UsageError(f"a call lacks {error}") from None


def _whole(given: Mapping[str, Any], name: str) -> int:
    value = given[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
        raise UsageError(f"{name} is no number of that kind")
    return value
