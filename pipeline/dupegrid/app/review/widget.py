"""The review of a run in a notebook: a widget that asks what the page of the review asks, over messages of its own.

What comes from the front end is trusted no more than what comes to the server of the review.
"""

from pathlib import Path
from typing import Any, Final

from dupegrid.app.review.calls import answer_call
from dupegrid.app.review.reviewing import Reviewing
from dupegrid.app.run import Run
from dupegrid.core.errors import DupegridError, UsageError
from dupegrid.storage.words import REASONS, RELATIONS, RULES

_PAGE: Final = Path(__file__).parent / "page"
_SCRIPTS: Final = (
    Path(__file__).parents[2] / "results" / "drawn" / "page" / "text.js",
    _PAGE / "groups.js",
    _PAGE / "widget.js",
)
_WORDS: Final = {"reason": REASONS, "rule": RULES, "relation": RELATIONS}


def script() -> str:
    """The module of the widget: the scripts that it shares with the page, and its own, anew for each cell."""
    text = "".join(file.read_text(encoding="utf-8") for file in _SCRIPTS)
    return f"function render({{ model, el }}) {{\n{text}}}\nexport default {{ render }};\n"


def review_widget(run: Run) -> Any:
    """A widget that shows the groups of a run and takes decisions, which it writes as they are made.

    UsageError where anywidget is lacking, StoreError where the run is not finished.
    """
    try:
        from anywidget import AnyWidget
    except ImportError:
        raise UsageError("a review in a notebook needs anywidget: pip install 'dupegrid[notebooks]'") from None
    reviewing = Reviewing(run)

    class Review(AnyWidget):
        """The review of a run, as a cell shows it."""

        _esm, _css = script(), (_PAGE / "widget.css").read_text(encoding="utf-8")

    def heard(widget: Any, said: Any, _buffers: Any) -> None:
        widget.send(*answered(reviewing, said))

    widget = Review()
    widget.on_msg(heard)
    return widget


def answered(reviewing: Reviewing, said: Any) -> tuple[dict[str, Any], list[bytes]]:
    """The answer to a message, and the picture that goes with it, if one does."""
    asked = said if isinstance(said, dict) else {}
    id = asked.get("id") if isinstance(asked.get("id"), int) else None
    name, given = str(asked.get("name")), asked.get("given")
    try:
        if name == "words":
            return {"id": id, "answer": _WORDS}, []
        if name == "thumb":
            image = given.get("id") if isinstance(given, dict) else None
            if not isinstance(image, int) or isinstance(image, bool) or not 0 <= image < 1 << 40:
                raise UsageError("a thumbnail is asked for by the number of its picture")
            return {"id": id, "answer": None}, [reviewing.thumb(image)]
        return {"id": id, "answer": answer_call(reviewing, name, given)}, []
    except DupegridError as error:
        return {"id": id, "error": str(error)}, []
