"""The review in a cell: what its messages decide is what the table holds; its module runs in a browser."""

import base64
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

import dupegrid
from dupegrid.app.review.reviewing import Reviewing
from dupegrid.app.review.widget import answered, review_widget, script
from dupegrid.core.errors import StoreError
from dupegrid.plans.decisions import in_force, read
from tests.helpers.reviews import asked_of, drawn_groups, run_of


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    folder = tmp_path_factory.mktemp("widget")
    return run_of(drawn_groups(folder / "<img src=x onerror=alert(1)>", 3), folder / "run")


@pytest.fixture
def run(found: dupegrid.Run, tmp_path: Path) -> dupegrid.Run:
    return dupegrid.open_run(shutil.copytree(found.path, tmp_path / "run"))


def decided(run: dupegrid.Run) -> list[tuple[str, str, str, str | None]]:
    rows = in_force(read(run.run_dir)).to_pylist()
    return [(row["hash_a"], row["hash_b"], row["decision"], row["keeper"]) for row in rows]


def test_the_widget_answers_messages_and_writes_decisions(run: dupegrid.Run) -> None:
    widget, sent = run.review(), []
    widget.send = lambda content, buffers=None: sent.append((content, buffers))

    def ask(name: str, **given: Any) -> tuple[Any, list[bytes]]:
        widget._handle_custom_msg({"id": len(sent), "name": name, "given": given}, [])
        content, buffers = sent[-1]
        assert content["id"] == len(sent) - 1
        return content.get("answer", content.get("error")), buffers

    first = asked_of(run)[0]
    group = ask("groups", filter={}, choice=1, start=0, count=1)[0]["groups"][0]
    a, b = (member["id"] for member in group["members"][:2])
    hashes = run.images["file_hash"].take(pa.array([a, b])).to_pylist()
    assert hashes == first.hashes[:2]
    _, (jpeg,) = ask("thumb", id=a)
    assert Image.open(io.BytesIO(jpeg)).format == "JPEG"
    ask("decide", a=a, b=b, decision="same", keeper=a)
    assert decided(run) == [(*sorted(hashes), "same", hashes[0])]
    ask("back")
    assert decided(run) == []
    assert set(ask("words")[0]) == {"reason", "rule", "relation"}
    assert str(run.path) not in str(widget.get_state())


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {"id": 1},
        {"id": 1, "name": "run"},
        {"id": 1, "name": "__init__", "given": {}},
        {"id": 1, "name": ["thumb"], "given": {}},
        {"id": 1, "name": "thumb", "given": {"id": "../x"}},
        {"id": 1, "name": "thumb", "given": {"id": 10**30}},
        {"id": 1, "name": "thumb", "given": {"id": 99}},
        {"id": 1, "name": "thumb", "given": None},
        {"id": 1, "name": "decide", "given": {"a": 0, "b": 0, "decision": "same", "keeper": 0}},
        {"id": 1, "name": "groups", "given": {"filter": {"where": 1}, "choice": 1, "start": 0, "count": 1}},
    ],
)
def test_what_is_asked_amiss_is_answered_in_a_line(found: dupegrid.Run, said: Any) -> None:
    answer, buffers = answered(Reviewing(found), said)
    assert set(answer) == {"id", "error"}
    assert "\n" not in answer["error"]
    assert buffers == []


def test_a_run_that_is_not_finished_is_said(tmp_path: Path) -> None:
    indexed = dupegrid.index(drawn_groups(tmp_path / "p", 1), out=tmp_path / "run", quiet=True)
    with pytest.raises(StoreError):
        review_widget(indexed)


_HARNESS = """
async ([source]) => {
  const heard = [];
  window.model = {
    send: async (message) => {
      const [answer, buffers] = await window.answer(JSON.stringify(message));
      const bytes = buffers.map((text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer));
      heard.forEach((listener) => listener(answer, bytes));
    },
    on: (_name, listener) => heard.push(listener),
    off: (_name, listener) => heard.splice(heard.indexOf(listener), 1),
  };
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  const cell = document.createElement("div");
  document.body.append(cell);
  window.left = widget.render({ model: window.model, el: cell });
}
"""


@pytest.fixture
def cell(browser: Any, run: dupegrid.Run) -> Iterator[Any]:
    """A page with the widget alone, whose messages a Reviewing answers; what it says on the console is an error."""
    reviewing, said = Reviewing(run), []
    page = browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))

    def answer(text: str) -> list[Any]:
        content, buffers = answered(reviewing, json.loads(text))
        return [content, [base64.b64encode(data).decode() for data in buffers]]

    page.expose_function("answer", answer)
    page.evaluate(_HARNESS, [script()])
    page.wait_for_selector(".dupegrid-review table tr")
    yield page
    assert said == []
    page.close()


def until(page: Any, holds: Callable[[], bool]) -> None:
    """Let the page go on until something holds."""
    for _ in range(400):
        if holds():
            return
        page.wait_for_timeout(25)
    raise AssertionError("it did not come to that")


def test_keys_decide_in_a_cell_and_names_are_text(cell: Any, run: dupegrid.Run) -> None:
    first, second = asked_of(run)[:2]
    until(cell, lambda: cell.eval_on_selector_all(".pair img", "all => all.every((image) => image.naturalWidth > 0)"))
    assert "<img src=x onerror=alert(1)>" in cell.inner_text(".pair table")
    assert cell.locator(".pair img[src='x']").count() == 0
    cell.focus(".dupegrid-review")
    cell.keyboard.press("a")
    until(cell, lambda: len(decided(run)) == 1)
    assert decided(run) == [(*sorted(first.hashes[:2]), "same", first.hashes[0])]
    cell.keyboard.press("z")
    until(cell, lambda: decided(run) == [])
    for _ in range(len(first.hashes) - 1):
        cell.keyboard.press(" ")
    until(cell, lambda: "Group 2" in cell.inner_text(".head"))
    cell.click("text=not the same")
    until(cell, lambda: len(decided(run)) == 1)
    assert decided(run) == [(*sorted(second.hashes[:2]), "not-same", None)]
    for _ in range(12):
        cell.keyboard.press(" ")
    until(cell, lambda: cell.inner_text(".head").startswith("All groups"))
    cell.wait_for_timeout(100)
    assert "MSE" not in cell.inner_text(".dupegrid-review")  # of a pair that is shown no more
    cell.keyboard.press("a")  # there is nothing to decide any more
    cell.keyboard.press("z")
    until(cell, lambda: cell.is_visible(".pair"))
    assert len(decided(run)) == 1
    cell.evaluate("left()")


def test_in_a_narrow_cell_the_facts_lie_below_the_pictures(cell: Any) -> None:
    boxes = """() => [...document.querySelectorAll(".pair img, .pair table")].map((part) => {
      const { x, y, width, height } = part.getBoundingClientRect();
      return [x, y, width, height];
    })"""
    cell.add_style_tag(path=Path(str(dupegrid.__file__)).parent / "app/review/page/widget.css")
    for width, is_narrow in ((380, True), (1200, False)):
        cell.set_viewport_size({"width": width, "height": 900})
        cell.wait_for_timeout(100)
        left, right, facts = cell.evaluate(boxes)
        assert left[1] == right[1], "the two are side by side"
        assert (facts[1] >= left[1] + left[3]) is is_narrow
        assert facts[2] >= 300
        assert facts[0] + facts[2] <= width
