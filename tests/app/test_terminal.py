"""What is said of progress: how many of how many; bars of a notebook, each in its place, drawn anew only so often."""

import io
import sys

import pytest
from rich.console import Console

from dupegrid.app import terminal


class Place:
    """Stands for a place below a cell, and keeps what was drawn there."""

    def __init__(self) -> None:
        self.drawn: list[str] = []

    def update(self, bar: object) -> None:
        console = Console(width=100)
        with console.capture() as said:
            console.print(bar)
        self.drawn.append(said.get())


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    import IPython.display  # here, as most processes of `make test` do without

    found: list[Place] = []

    def display(bar: object, display_id: bool) -> Place:
        assert display_id
        found.append(Place())
        found[-1].update(bar)
        return found[-1]

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(Console, "is_jupyter", True, raising=False)
    return found


@pytest.mark.parametrize(("every_s", "times"), [(3600.0, 2), (0.0, 12)])
def test_a_bar_stays_in_its_place(every_s: float, times: int, places: list[Place], monkeypatch, capsys) -> None:
    monkeypatch.setattr(terminal, "_REDRAWN_EVERY_S", every_s)
    shown = terminal.Terminal(sys.stderr)
    monkeypatch.setattr(shown, "_is_notebook", True)
    with shown.stage("index", 10, "images") as advance:
        for _ in range(10):
            advance(1)
    (place,) = places
    assert len(place.drawn) == times
    assert "100%" in place.drawn[-1]
    assert capsys.readouterr().err == ""


def test_a_stage_of_unknown_length_that_is_short_says_nothing(places: list[Place], monkeypatch) -> None:
    shown = terminal.Terminal(sys.stderr)
    monkeypatch.setattr(shown, "_is_notebook", True)
    monkeypatch.setattr(terminal, "_REDRAWN_EVERY_S", 3600.0)
    with shown.stage("list", None, "files") as advance:
        advance(3)
    assert places == []


@pytest.mark.parametrize(
    ("total", "said"), [(7674, "26 %, 2,048 of 7,674,"), (None, "2,048 images,"), (8 << 30, "0 %, ")]
)
def test_lines_say_how_many_of_how_many(total: int | None, said: str) -> None:
    stream = io.StringIO()
    with terminal.Terminal(stream, line_every_s=0).stage("index", total, "images") as advance:
        advance(2048)
    line = stream.getvalue().partition("\n")[0]
    assert line.startswith(f"index: {said}")
    assert (" of " in line) is (total == 7674)


def test_one_is_no_plural() -> None:
    stream = io.StringIO()
    with terminal.Terminal(stream).stage("matrix", 1, "chunks") as advance:
        advance(1)
    assert stream.getvalue().startswith("matrix: 1 chunk in ")
