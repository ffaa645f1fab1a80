"""The report in a browser: what is drawn, filtered, compared and typed, with names that would be scripts."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dupegrid.core.text import shown_path
from dupegrid.results.drawn import report as report_module
from dupegrid.results.drawn.page import Found
from dupegrid.results.drawn.report import report
from tests.conftest import picture, save
from tests.helpers.names import naughty_names
from tests.helpers.tables import found, many, summary

Opened = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    """Opens the page of what was found; whatever it says on the console is an error."""
    said: list[str] = []
    pages = []

    def draw(what: Found, **options: Any) -> Any:
        file = tmp_path / f"{len(pages)}.html"
        with open(file, "w") as out:
            out.writelines(report(what, noise, summary(what), {"orientations": ["all"]}))
        page = browser.new_page(**{"reduced_motion": "reduce", "viewport": {"width": 1200, "height": 800}, **options})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: said.append(request.url) if "http" in request.url[:5] else None)
        pages.append(page)
        page.goto(file.as_uri())
        if options.get("java_script_enabled", True):
            until(page, "performance.getEntriesByName('complete').length || !document.querySelector('.bar')")
        return page

    yield draw
    for page in pages:
        page.close()
    assert said == []


def noise(ids: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (len(ids), 16, 16, 3)).astype(np.uint8)


def until(page: Any, expression: str) -> None:
    """Wait until it holds. Playwright's own waiting evaluates text, which the policy of the page forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        time.sleep(0.02)


def names(page: Any) -> list[str]:
    return page.locator(".picture .name").all_inner_texts()


def three() -> Found:
    """Three clusters: with 300, 20 and 1 bytes to free; the second has a bridge, the first another relation."""
    rows = [
        {"path_raw": f"/photos/{path}".encode(), "size_bytes": size, "file_hash": hash}
        for path, size, hash in (
            ("trip/one.jpg", 900, "a"),
            ("backup/one.jpg", 300, "a"),
            ("trip/two.jpg", 90, "b"),
            ("trip/two (1).jpg", 20, "c"),
            ("trip/two far.jpg", 7, "d"),
            ("work/three.jpg", 1, "e"),
            ("work/three (1).jpg", 1, "f"),
        )
    ]
    return found(rows, [(0, 1, 0.0), (2, 3, 8.0), (3, 4, 30.0), (5, 6, 44.0)])


def heads(page: Any) -> list[str]:
    return [text.splitlines()[0] for text in page.locator(".picture:first-child .name").all_inner_texts()]


def test_cards_are_drawn_in_their_order_and_filtered(opened: Opened) -> None:
    page = opened(three())
    assert heads(page) == ["one.jpg", "two.jpg", "three.jpg"]
    assert "3 clusters · 3 duplicates · 1 bridge · 321 bytes would be freed" in page.locator(".said").inner_text()
    assert names(page)[2:5] == ["two.jpg", "two far.jpg", "two (1).jpg"], "the bridge before the duplicate"
    assert "through two (1).jpg, MSE 30" in page.locator(".picture.bridge").inner_text()
    until(page, "[...document.querySelectorAll('.picture img')].every(image => image.naturalWidth === 16)")

    def left(act: Callable[[], object]) -> list[str]:
        act()
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 30)))")
        return heads(page)

    text, folder = page.locator("input[type=search]").all()
    kind, order = page.locator("select").all()
    slider = page.locator("input[type=range]").first
    assert left(lambda: text.fill("TWO F")) == ["two.jpg"]
    assert left(lambda: text.fill("p/o")) == ["one.jpg"]
    assert left(lambda: text.press("Escape")) == ["one.jpg", "two.jpg", "three.jpg"]
    assert left(lambda: folder.fill("/photos/work/")) == ["three.jpg"]
    assert left(lambda: folder.fill("/photos")) == ["one.jpg", "two.jpg", "three.jpg"]
    assert left(lambda: folder.fill("")) == ["one.jpg", "two.jpg", "three.jpg"]
    assert left(lambda: kind.select_option("same_bytes")) == ["one.jpg"]
    assert left(lambda: kind.select_option("bridge")) == ["two.jpg"]
    assert left(lambda: kind.select_option("")) == ["one.jpg", "two.jpg", "three.jpg"]
    assert left(lambda: order.select_option("least")) == ["three.jpg", "two.jpg", "one.jpg"]
    assert left(lambda: order.select_option("path")) == ["one.jpg", "two.jpg", "three.jpg"]
    # 44 x 0.5^2 = 11: of the second cluster what has no MSE with its keeper, the bridge, is not taken away
    assert left(lambda: slider.fill("500")) == ["one.jpg", "two.jpg"]
    assert "2 of 3 clusters · 2 duplicates · 1 bridge · 320 bytes" in page.locator(".said").inner_text()
    assert left(lambda: text.fill("nothing")) == []
    assert "No cluster is as asked for" in page.locator(".empty").inner_text()


def test_the_keyboard_goes_everywhere(opened: Opened) -> None:
    page = opened(three())

    def at() -> str:
        return page.evaluate("document.activeElement.closest('figure')?.querySelector('.name').textContent")

    def after(*keys: str) -> str:
        for key in keys:
            page.keyboard.press(key)
        return at()

    assert after("j") == "one.jpg"
    assert after("j") == "two.jpg"
    assert after("ArrowRight", "ArrowRight") == "two (1).jpg"
    assert after("j") == "three.jpg"
    assert after("j") == "three.jpg", "there is no other"
    assert after("k") == "two.jpg"
    dialog = page.locator("dialog.compare")
    assert not dialog.is_visible()
    page.keyboard.press("Space")
    assert dialog.is_visible()
    labels = page.locator(".compare .label a")
    assert labels.all_text_contents() == ["two.jpg", "two far.jpg"]
    page.keyboard.press("ArrowRight")
    assert labels.all_text_contents() == ["two.jpg", "two (1).jpg"]
    for key, mode in (("d", "difference"), ("b", "blink"), ("s", "side")):
        page.keyboard.press(key)
        assert page.locator(".stage").get_attribute("class") == f"stage {mode}"
    page.keyboard.press("b")
    before = page.locator(".layer.behind a").text_content()
    page.keyboard.press("Space")
    assert page.locator(".layer.behind a").text_content() != before
    page.keyboard.press("k")
    assert labels.all_text_contents() == ["one.jpg", "one.jpg"]
    page.keyboard.press("?")
    assert page.locator("dialog.help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("dialog.help").is_visible()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    until(page, "document.activeElement.closest('figure')?.querySelector('.name').textContent === 'one.jpg'")
    page.keyboard.press("/")
    page.keyboard.type("jk?")
    assert page.locator("input[type=search]").first.input_value() == "jk?"


def test_originals_are_compared_where_they_are(opened: Opened, tmp_path: Path) -> None:
    """Equal pictures, one of them turned: their difference is black, as each lies as the other does."""
    first = save(tmp_path / "a.png", 1)
    picture(1).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "b #1.png")
    rows = [{"path_raw": bytes(first), "width": 96, "height": 72}]
    rows += [{"path_raw": bytes(tmp_path / "b #1.png"), "width": 72, "height": 96}]
    what = found(rows, [(0, 1, 0.0)])
    turn = what.matches.column_names.index("orientation")
    what = replace(what, matches=what.matches.set_column(turn, "orientation", [["rot90"]]))
    page = opened(what)
    page.keyboard.press("j")
    page.keyboard.press("Space")
    page.keyboard.press("t")
    until(page, "[...document.querySelectorAll('.view img')].every(i => i.complete && i.naturalWidth > 16)")
    assert page.locator(".view img").evaluate_all("all => all.map(i => [i.naturalWidth, i.naturalHeight])") == [
        [96, 72],
        [72, 96],
    ]
    page.keyboard.press("d")
    page.screenshot(path=tmp_path / "difference.png")
    drawn = np.asarray(Image.open(tmp_path / "difference.png").convert("L"))
    stage = page.locator(".stage").bounding_box()
    top, left = int(stage["y"]) + 2, int(stage["x"]) + 2
    inside = drawn[top : top + int(stage["height"]) - 4, left : left + int(stage["width"]) - 4]
    assert np.quantile(inside, 0.99) < 24
    page.keyboard.press("s")
    page.screenshot(path=tmp_path / "side.png")
    side = np.asarray(Image.open(tmp_path / "side.png").convert("L"))
    assert side[top : top + int(stage["height"]) - 4].max() > 100


def test_any_name_is_text(opened: Opened) -> None:
    evil = [b"<img src=x onerror=alert(1)>.jpg", b"</script><script>alert(1)</script>.jpg", b"${alert(1)}.jpg"]
    raw = [*evil, *naughty_names()]
    rows = [{"path_raw": b"/<b>folder \xff/" + name.replace(b"/", b"_")} for name in raw]
    what = found([*rows, {}], [(k, len(rows), 1.0) for k in range(len(rows))])
    page = opened(what)
    while page.locator("button.rest").count():
        page.locator("button.rest").click()
    shown = page.locator(".picture .name").evaluate_all("all => all.map(name => name.textContent)")
    assert sorted(shown) == sorted(
        [shown_path(row["path_raw"].rpartition(b"/")[2]) for row in rows] + [f"{len(rows)}.jpg"]
    )
    assert page.locator("main b, main script, .cards img:not(button img)").count() == 0
    page.locator("input[type=search]").first.fill("onerror=alert(1)>")
    page.keyboard.press("Escape")
    page.keyboard.press("Space")
    assert page.locator("dialog.compare").is_visible()


def test_pages_reach_every_cluster(opened: Opened) -> None:
    page = opened(found([{}] * 202, [(2 * k, 2 * k + 1, float(k % 50)) for k in range(101)]))
    seen: list[str] = []
    for number in (1, 2, 3):
        assert page.locator(".pager input").first.input_value() == str(number)
        seen += page.locator(".card h2").all_inner_texts()
        page.locator(".pager button:last-child").first.click() if number == 1 else page.keyboard.press("n")
    assert sorted(seen) == sorted(f"Cluster {k}" for k in range(101))
    # What a person who says what is there, or hears it, goes by.
    name = "it.querySelector('input, select').ariaLabel"
    labels = page.evaluate(f"[...document.querySelectorAll('label')].map(it => [it.innerText, {name}])")
    assert len(labels) == 6
    assert all(text.split()[0] in said for text, said in labels)
    assert page.evaluate("new Set([...document.querySelectorAll('nav')].map(it => it.ariaLabel)).size") == 2


def test_what_could_not_be_read_is_listed_when_asked_for(opened: Opened) -> None:
    rows: list[dict[str, object]] = [{}, {}]
    rows += [{"path_raw": b"/p/<b>%d.jpg" % k, "status": "truncated", "error": "cut <i>"} for k in range(700)]
    page = opened(found(rows, [(0, 1, 1.0)]))
    assert page.locator("#failed tr").count() == 0
    page.locator("#failures summary").click()
    page.wait_for_selector("#failed tr")
    page.locator("#failures button").click()
    assert page.locator("#failed tr").count() == 700
    assert page.locator("#failed b, #failed i").count() == 0


def test_narrow_pages_need_no_scrolling_sideways_light_or_dark(opened: Opened) -> None:
    paths = [b"/" + b"x" * 200 + b"/" + b"y" * 200 + b"%d" % k for k in range(5)]
    what = found([{"path_raw": path} for path in paths], [(0, 1, 1.0), (2, 3, 1.0)])
    page = opened(what, viewport={"width": 360, "height": 700})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        assert (int(ground) > 128) == (scheme == "light")
    page.locator(".open").first.click()
    assert page.locator("dialog.compare").evaluate("box => box.scrollWidth") <= 360


def test_a_page_without_clusters_takes_no_key_amiss(opened: Opened) -> None:
    page = opened(found([{"status": "truncated"}], []))
    for key in ("j", "Space", "?", "n", "/"):
        page.keyboard.press(key)
    assert "No two pictures are within the threshold." in page.locator("body").inner_text()


def test_without_a_script_the_page_says_what_it_shows(opened: Opened) -> None:
    page = opened(found([{}] * 60, [(2 * k, 2 * k + 1, 1.0) for k in range(30)]), java_script_enabled=False)
    text = page.locator("body").inner_text()
    assert "Without JavaScript this page shows the first 12 clusters of 30" in text
    assert page.locator("img").count() == 24


def test_the_first_cards_are_drawn_before_the_page_has_come(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long 20,000 clusters take tests/benchmarks/page.py measures; here, that nothing waits for all of them."""
    one = report_module.encode_jpeg(np.asarray(picture(1, (64, 64))), 95)  # of some size
    monkeypatch.setattr(report_module, "encode_jpeg", lambda *_: one)
    page = opened(many(2_000))
    first, complete = (
        page.evaluate(f"performance.getEntriesByName('{name}')[0].startTime") for name in ("first card", "complete")
    )
    assert first < complete
    assert first < page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert page.locator(".card").count() == 40
    assert "2,000 clusters" in page.locator(".said").inner_text()
    page.locator(".pager input").first.fill("50")
    page.keyboard.press("Enter")
    assert page.locator(".card").count() == 40
    assert page.locator(".picture img").evaluate_all("all => all.every(image => image.src)")
