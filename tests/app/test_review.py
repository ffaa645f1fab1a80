"""The review: decisions by keyboard alone are what the table holds, and nobody but its page is answered."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import dupegrid
from dupegrid.app.review import reviewing as reviewing_module
from dupegrid.app.review import thumbs as review_thumbs
from dupegrid.app.review.calls import WRITING
from dupegrid.app.review.served import Review
from dupegrid.core.errors import UsageError
from dupegrid.plans.decisions import in_force, read
from dupegrid.results import groups as groups_module
from tests.conftest import tree_state
from tests.helpers.forks import command, started
from tests.helpers.reviews import Asked, asked_of, drawn_groups, run_of
from tests.helpers.tasks import waited_until
from tests.results.test_report import until

GROUPS = 200 if os.environ.get("DUPEGRID_LONG") else 9

Decisions = dict[tuple[str, str], tuple[str, str | None]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dupegrid.Run:
    folder = tmp_path_factory.mktemp("review")
    return run_of(drawn_groups(folder / "<img src=x onerror=alert(1)>", GROUPS), folder / "run")


@pytest.fixture
def run(found: dupegrid.Run, tmp_path: Path) -> dupegrid.Run:
    """The same run, about which nobody has decided anything."""
    return dupegrid.open_run(shutil.copytree(found.path, tmp_path / "run"))


def in_table(run: dupegrid.Run) -> Decisions:
    rows = in_force(read(run.run_dir)).to_pylist()
    return {(row["hash_a"], row["hash_b"]): (row["decision"], row["keeper"]) for row in rows}


@contextlib.contextmanager
def opened(browser: Any, review: Review, **options: Any) -> Iterator[Any]:
    """The page, with its first pair; whatever it says on the console is an error."""
    said: list[str] = []
    page = browser.new_page(reduced_motion="reduce", **options)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"a dialog: {dialog.message}"))
    page.goto(review.url)
    until(page, "document.querySelectorAll('.choose option').length > 0")
    yield page
    page.close()
    assert said == []


def press(page: Any, key: str) -> None:
    """Press a key, and wait for what it does."""
    page.evaluate("performance.clearMarks('pair drawn')")
    page.keyboard.press(key)
    until(page, "performance.getEntriesByName('pair drawn').length || !document.querySelector('.ending').hidden")


def expected(groups: list[Asked], keys: Iterator[str]) -> tuple[list[str], Decisions]:
    """The keys that decide all pairs of all groups, and the table that these make."""
    pressed, decided = [], {}
    for group in groups:
        keeper, *others = group.hashes
        for other in others:
            pressed.append(key := next(keys))
            kept = {"a": keeper, "d": other}.get(key)
            verdict = "same" if kept else {"s": "variant", "n": "not-same"}[key]
            decided[min(keeper, other), max(keeper, other)] = (verdict, kept)
            keeper = kept or keeper
    return pressed, decided


def test_all_groups_are_decided_by_keyboard_alone(browser: Any, run: dupegrid.Run) -> None:
    random = np.random.default_rng(1)
    keys, decided = expected(asked_of(run), iter(random.choice(list("adsn"), 10_000).tolist()))
    before = tree_state(Path(run.config.paths[0]))
    with Review(run) as review, opened(browser, review) as page:
        for place, key in enumerate(keys):
            if place % 5 == 1:  # decided otherwise, and taken back
                press(page, "n" if key != "n" else "s")
                press(page, "z")
            if place == 3:  # asked another time
                press(page, " ")
                press(page, "Backspace")
            press(page, key)
        until(page, "!document.querySelector('.ending').hidden")
        text = page.locator(".ending").inner_text()
        assert "All groups are decided" in text
        assert f"dupegrid plan {run.path}\ndupegrid apply {run.path}" in text
    assert in_table(run) == decided
    assert tree_state(Path(run.config.paths[0])) == before
    with Review(run) as again, opened(browser, again) as page:
        assert "All groups are decided" in page.locator(".ending").inner_text(), "it is remembered"
        page.locator(".ending button").click()
        until(page, "!document.querySelector('.ending pre').hidden")
        goes = sum(dupegrid.open_run(run.path).clusters["role"].to_numpy() == "duplicate")
        assert f"{goes} files" in page.locator(".ending pre").first.inner_text()


def test_the_page_looks_chooses_filters_and_accepts_a_rule(browser: Any, run: dupegrid.Run) -> None:
    groups = asked_of(run)
    with Review(run) as review, opened(browser, review, viewport={"width": 1200, "height": 800}) as page:
        while page.locator(".strip").is_hidden():
            press(page, "j")
        nonce = json.loads(Client(review).ask("POST", "/session", {})[1])["nonce"]
        sources = page.locator(".strip img").evaluate_all("all => all.map(image => image.src)")
        assert {source.partition("?")[2] for source in sources} == {nonce}, "none is drawn from what a browser kept"
        names = page.locator(".label .of")
        left, right = names.all_text_contents()
        press(page, "k")
        assert names.all_text_contents() == [right, left], "the right one is the one to keep now"
        press(page, "k")
        press(page, "ArrowRight")
        assert names.all_text_contents()[0] == left
        assert names.all_text_contents()[1] != right
        until(page, "document.querySelectorAll('.layer .outline').length > 0")
        until(page, "[...document.querySelectorAll('.view img')].every(i => i.naturalHeight > 16 && i.src[0] === 'b')")
        for key, mode in (("2", "blink"), ("3", "slider"), ("4", "difference"), ("1", "side")):
            page.keyboard.press(key)
            assert page.locator(".stage").get_attribute("class") == f"stage {mode}"
        mse = float(page.locator(".pill.mse").inner_text().removeprefix("MSE "))
        drawn = float(page.locator(".gain input").input_value()) * mse**0.5
        assert 30 < drawn < 50, "a difference is drawn as bright for near pictures as for others"
        page.set_viewport_size({"width": 1280, "height": 620})
        assert page.locator(".stage").bounding_box()["height"] > 0.4 * 620, "pictures have room on a low screen"
        page.keyboard.press("+")
        scaled = [layer.evaluate("view => view.style.transform") for layer in page.locator(".view").all()]
        assert scaled[0] == scaled[1] == "translate(0px, 0px) scale(1.25)"
        page.keyboard.press("?")
        assert page.locator("dialog.help").first.is_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.type("no such name")
        page.keyboard.press("Enter")
        until(page, "!document.querySelector('.ending').hidden")
        page.keyboard.press("/")
        page.keyboard.press("Escape")
        until(page, "document.querySelector('.ending').hidden")
        page.keyboard.press("r")
        until(page, "document.querySelector('dialog[open] button')")
        offered = int(re.findall(r"for (\d+) pair", page.locator("dialog[open]").inner_text())[0])
        press(page, "Enter")
        until(page, "document.querySelector('.trouble').textContent.includes('written')")
        accepted = in_table(run)
        assert len(accepted) == offered > 0
        keepers = {group.hashes[0] for group in groups}
        assert {(verdict, kept in keepers) for verdict, kept in accepted.values()} == {("same", True)}
        press(page, "z")
        until(page, "document.querySelector('.trouble').textContent.includes('taken back')")
        assert in_table(run) == {}


def test_a_button_that_was_clicked_is_not_clicked_again_by_space(browser: Any, run: dupegrid.Run) -> None:
    with Review(run) as review, opened(browser, review) as page:
        pair = "[...document.querySelectorAll('.label .of')].map(each => each.textContent).join()"
        first = page.evaluate(pair)
        page.evaluate("performance.clearMarks('pair drawn')")
        page.get_by_role("button", name="keep left").click()
        until(page, "performance.getEntriesByName('pair drawn').length")
        second = page.evaluate(pair)
        press(page, " ")
        third = page.evaluate(pair)
        assert len({first, second, third}) == 3
        assert len(in_table(run)) == 1
        for button in (page.locator(".mode").nth(1), page.locator(".strip button:not(.keeping):not(.asked)").first):
            while page.locator(".strip").is_hidden():
                press(page, "j")
            button.click()
            before = page.evaluate(pair)
            press(page, " ")
            assert page.evaluate(pair) != before
        assert len(in_table(run)) == 1


def test_tabs_keep_their_places_and_see_what_another_took_back(browser: Any, run: dupegrid.Run) -> None:
    with Review(run) as review, opened(browser, review) as one:
        press(one, "j")
        heading, pair = one.locator(".pairing h1").inner_text(), one.locator(".label .of").all_text_contents()
        press(one, "n")
        assert one.locator(".label .of").all_text_contents() != pair
        with opened(browser, review) as other:
            press(other, "s")
            assert len(in_table(run)) == 2
            press(one, "z")
            until(one, "document.querySelector('.trouble').textContent === '1 decision taken back'")
            assert [decision for decision, _ in in_table(run).values()] == ["not-same"]
            press(one, "z")
        assert in_table(run) == {}
        assert one.locator(".pairing h1").inner_text() == heading
        assert one.locator(".label .of").all_text_contents() == pair


def test_a_group_that_is_sent_in_parts_is_decided_whole(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(drawn_groups(tmp_path / "pictures", 3), tmp_path / "run")
    monkeypatch.setattr(groups_module, "MOST", 2)
    _, decided = expected(asked_of(run), iter("n" * 100))
    with Review(run) as review, opened(browser, review) as page:
        for place in range(len(decided)):
            press(page, "n")
            if place < 2:  # also where a part was ended by it
                press(page, "z")
                assert len(in_table(run)) == place
                press(page, "n")
        until(page, "!document.querySelector('.ending').hidden")
        assert "All groups are decided" in page.locator(".ending").inner_text()
    assert in_table(run) == decided


@pytest.mark.parametrize("width", [320, 721])
def test_a_large_group_is_no_wider_than_the_window(browser: Any, tmp_path: Path, width: int) -> None:
    (tmp_path / "burst").mkdir()
    for number in range(40):
        pixels = np.full((12, 12, 3), 90, np.uint8)
        pixels[:, 6:], pixels[0, 0] = 160, number
        Image.fromarray(pixels).save(tmp_path / "burst" / f"{number:02d}.png")
    run = run_of(tmp_path / "burst", tmp_path / "run")
    viewport = {"width": width, "height": 700}
    with Review(run) as review, opened(browser, review, viewport=viewport) as page:
        until(page, "document.querySelectorAll('.strip .tile').length > 20")
        for name in (".top-bar", ".stage", ".layer:last-of-type", ".strip", ".acts", ".below"):
            box = page.locator(name).last.bounding_box()
            assert box["x"] >= 0, name
            assert box["x"] + box["width"] <= width, name
        heights = page.locator(".modes button").evaluate_all("all => all.map(it => it.scrollHeight - it.clientHeight)")
        assert heights == [0, 0, 0, 0], "no word is cut"
        assert page.locator(".acts button").first.inner_text().endswith("keep left" if width > 720 else "keep upper")
        acts = page.locator(".acts").bounding_box()
        assert acts["y"] + acts["height"] <= 700, "buttons are there without scrolling"
        page.set_viewport_size({"width": width, "height": 400})  # as it is at twice the size
        for _ in range(12):
            page.keyboard.press("ArrowRight")
        until(page, "document.querySelector('.strip').scrollLeft > 0")
        assert page.evaluate("document.querySelector('.pairing').scrollTop") == 0
        asked, strip = (page.locator(name).bounding_box() for name in (".tile.asked", ".strip"))
        assert strip["x"] <= asked["x"] <= strip["x"] + strip["width"] - asked["width"]


def test_a_picture_of_one_pixel_in_width_is_drawn_as_a_strip(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "thin").mkdir()
    pixels = np.linspace(0, 255, 400).astype(np.uint8).reshape(400, 1)
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).convert("RGB" if name == "a.png" else "L").save(tmp_path / "thin" / name)
    with Review(run_of(tmp_path / "thin", tmp_path / "run")) as review, opened(browser, review) as page:
        until(page, "document.querySelectorAll('.layer img').length === 2")
        assert [page.locator(".layer img").nth(k).bounding_box()["width"] for k in (0, 1)] == [24, 24]


def test_what_cannot_be_written_is_said_as_it_is(browser: Any, run: dupegrid.Run) -> None:
    with Review(run, read_only=True) as review, opened(browser, review) as page:
        page.keyboard.press("a")
        until(page, "document.querySelector('.trouble').textContent === 'this review is read-only'")


def test_a_server_that_has_ended_is_said_to_have(browser: Any, run: dupegrid.Run) -> None:
    page = browser.new_page()
    with Review(run) as review:
        page.goto(review.url)
        until(page, "document.querySelectorAll('.choose option').length > 0")
    page.keyboard.press("a")
    until(page, "document.querySelector('.trouble').textContent.startsWith('the server does not answer')")
    page.close()


def test_thumbnails_are_kept_up_to_some_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_thumbs, "_KEPT_BYTES", 5 * 16 * 16 * 3)
    read: list[int] = []

    def thumbs_of(ids: np.ndarray) -> np.ndarray:
        read.extend(ids.tolist())
        return np.repeat(ids.astype(np.uint8), 16 * 16 * 3).reshape(-1, 16, 16, 3)

    kept = review_thumbs.KeptThumbs(thumbs_of)
    for ids in ([0, 1, 2], [3, 4], [0, 4], [5], [0], [5, 0, 7]):
        assert [thumb[0, 0, 0] for thumb in kept.take(ids)] == ids
    assert read == [0, 1, 2, 3, 4, 5, 0, 7]


def test_groups_that_are_all_looked_at_are_not_waited_for(run: dupegrid.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviewing_module, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(reviewing_module, "_AFTER_S", "nobody waits for so long")
    assert reviewing_module.Reviewing(run).ask({}, 0, 0, 1)["whole"]


def test_relations_come_with_the_groups_that_come_after_the_first(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(drawn_groups(tmp_path / "pictures", 22), tmp_path / "run")
    told = run.matches.select(["a", "b"]).append_column("relation", pa.array(["edited"] * len(run.matches)))
    monkeypatch.setattr(reviewing_module, "relations_if_told", lambda *_: told)
    for name in ("FIRST", "MOST_AT_ONCE"):
        monkeypatch.setattr(reviewing_module, name, 20)
    with Review(run) as review, opened(browser, review) as page:
        until(page, "document.querySelector('.below').textContent.includes('edited')")
        assert " of 22" in page.locator(".pairing h1").inner_text()
        assert page.locator(".choose option[value=edited]").count() == 1


def test_originals_that_are_gone_are_said_and_names_are_text(browser: Any, tmp_path: Path) -> None:
    run = run_of(drawn_groups(tmp_path / "<b>bold", 1), tmp_path / "run")
    os.rename(tmp_path / "<b>bold", tmp_path / "offline")
    with Review(run) as review:
        for width, scheme in ((360, "light"), (1100, "dark")):
            viewport = {"width": width, "height": 700}
            with opened(browser, review, viewport=viewport, color_scheme=scheme) as page:
                until(page, "document.querySelector('.label').textContent.includes('the file is not there')")
                assert page.locator(".view img").evaluate_all("all => all.every(image => image.naturalWidth === 16)")
                assert page.locator("b").count() == 0
                assert "<b>bold" in page.locator(".below").inner_text()
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                choices, below = (page.locator(name).bounding_box() for name in (".acts", ".below"))
                assert choices["y"] + choices["height"] <= below["y"], "buttons lie over the facts"
                ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
                assert (int(ground) > 128) == (scheme == "light")


class Client:
    """Whoever asks the server, with what a page of ours sends, or without."""

    def __init__(self, review: Review) -> None:
        self.port = int(re.findall(r":(\d+)/", review.url)[0])
        self.token = review.url.partition("#")[2]
        self.cookie = ""
        self.cookie = self.ask("POST", "/session", {})[2].partition(";")[0]

    def ask(self, method: str, path: str, body: Any = None, **headers: str | None) -> tuple[int, bytes, str]:
        """Status, body and Set-Cookie; a header that is None is left out."""
        sent = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie, "X-Dupegrid-Token": self.token}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True)
            for name, value in sent.items():
                if value:
                    connection.putheader(name, value)
            if data is not None and "Content-Length" not in sent:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders()
            with contextlib.suppress(OSError):  # it may have been hung up on
                connection.send(data or b"")
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers.get("Set-Cookie", "")
        except (OSError, http.client.HTTPException):
            return 0, b"", ""
        finally:
            connection.close()


@pytest.fixture
def client(run: dupegrid.Run) -> Iterator[Client]:
    with Review(run) as review:
        yield Client(review)


def test_nobody_else_is_answered(client: Client, run: dupegrid.Run) -> None:
    a, b = run.matches.to_pylist()[0]["a"], run.matches.to_pylist()[0]["b"]
    decide = {"a": a, "b": b, "decision": "same", "keeper": a}
    port, ask = client.port, client.ask
    hosts = ["evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", f"127.evil.com:{port}", ""]
    hosts += [f"127.0.0.1.evil.com:{port}", f"127.0.0.1:{port}@evil.com", f"user@127.0.0.1:{port}", f"0.0.0.0:{port}"]
    hosts += [f"127.0.0.1:{port}/x", f"localhost.evil.com:{port}", f"[::ffff:127.0.0.1]:{port}", f"2130706433:{port}"]
    for host in hosts:
        for method, path in (("GET", "/"), ("GET", f"/thumb/{a}"), ("POST", "/session"), ("POST", "/decide")):
            assert ask(method, path, decide if method == "POST" else None, Host=host)[0] in (400, 421, 0), host
    refused: list[dict[str, str | None]] = [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Cookie": None},
        {"Cookie": f"dupegrid-{port}=guess"},
        {"Cookie": '"\\'},
        {"X-Dupegrid-Token": None},
        {"X-Dupegrid-Token": "x" * 43},
        {"X-Dupegrid-Token": client.token[:-1]},
        {"X-Dupegrid-Token": client.token + "é"},
        {"Upgrade": "websocket", "Connection": "Upgrade"},
    ]
    for headers in refused:
        status, body, _ = ask("POST", "/decide", decide, **{k.replace("-", "_"): v for k, v in headers.items()})
        assert status in (400, 401, 403), headers
        assert b"Traceback" not in body
    for headers in ({"Cookie": None}, {"Sec_Fetch_Site": "cross-site"}, {"Origin": "http://evil.example"}):
        for path in (f"/thumb/{a}", f"/original/{a}"):
            assert ask("GET", path, **headers)[0] in (401, 403)
    for token in (None, "guess", client.token[:-1]):  # the cookie comes to every server on 127.0.0.1
        assert ask("GET", f"/thumb/{a}", X_Dupegrid_Token=token)[0] == 200
        assert ask("GET", f"/original/{a}", X_Dupegrid_Token=token)[0] == 401
        for name in ("about", "groups", "pair", "through", "acceptable", "totals", "accept", "back", "plan", "session"):
            assert ask("POST", f"/{name}", {}, X_Dupegrid_Token=token)[0] == 401
    assert ask("GET", f"/original/{a}")[0] == 200
    navigated = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert ask("GET", "/", **navigated)[0] == 200
    assert ask("GET", "/", **{**navigated, "Sec_Fetch_Dest": "iframe"})[0] == 403
    assert ask("POST", "/session", {}, X_Dupegrid_Token="guess")[0] == 401
    assert in_table(run) == {}


def test_what_is_asked_amiss_is_refused_in_a_line(client: Client, run: dupegrid.Run) -> None:
    rows = run.clusters.to_pylist()
    a, b = run.matches.to_pylist()[0]["a"], run.matches.to_pylist()[0]["b"]
    other = next(row["image"] for row in rows if row["cluster"] != rows[0]["cluster"])
    single = next(k for k in range(len(run.images)) if k not in {row["image"] for row in rows})
    good = {"a": a, "b": b, "decision": "same", "keeper": a}
    bad: list[Any] = [b"", b"{", b"\xff", b"[" * 20_000, b"[]", b"null", b'"x"', {}, {**good, "a": -1}]
    bad += [{**good, "a": 10**12}, {**good, "a": 10**30}, {**good, "a": True}, {**good, "a": str(a)}, {**good, "b": a}]
    bad += [{**good, "a": single}, {**good, "keeper": other}, {**good, "keeper": None}, {**good, "decision": "gone"}]
    bad += [{**good, "decision": "undecided"}, {**good, "decision": "variant"}, {**good, "decision": ["same"]}]
    bad += [{**good, "a": rows[0]["image"], "b": other}, {"a": a, "b": b}]
    for body in bad:
        status, answer, _ = client.ask("POST", "/decide", body)
        assert status == 400, body
        assert set(json.loads(answer)) == {"error"}
        assert b"Traceback" not in answer
    for filter in (None, [], {"sql": "x"}, {"text": 1}, {"text": "x" * 5000}, {"role": "x"}, {"decided": 1}):
        assert client.ask("POST", "/groups", {"filter": filter, "choice": 1, "start": 0, "count": 5})[0] == 400
    for count in (0, 51, 10**9):
        assert client.ask("POST", "/groups", {"filter": {}, "choice": 1, "start": 0, "count": count})[0] == 400
    assert client.ask("POST", "/back", {})[0] == 400
    assert client.ask("POST", "/accept", {"filter": {}, "pairs": 1})[0] == 400
    paths = ["/thumb/../run.json", "/thumb/%2e%2e/run.json", "//etc/passwd", "/original/../../etc/passwd", "/run.json"]
    paths += ["/original//etc/passwd", "/original/-1", "/original/1.5", f"/thumb/{single}", "/thumb/999999999999"]
    paths += ["/review.py", "/decide", "/thumb/99999999999999999999", f"/original/{a}?path=/etc/passwd%00", "/static/x"]
    for path in paths:
        status, answer, _ = client.ask("GET", path)
        assert status in (400, 404, 405) or path.startswith(f"/original/{a}?"), path
        assert b"root:" not in answer
    for method in ("PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND"):
        assert client.ask(method, "/decide", good)[0] in (400, 405, 501, 0), method
    assert client.ask("POST", "/decide", b" " * 40_000)[0] in (400, 413, 0)
    assert client.ask("POST", "/decide", b"x", Content_Length="99999999999")[0] in (400, 413, 0)
    assert client.ask("POST", "/decide", good, X_Long="x" * 70_000)[0] in (400, 431, 0)
    assert in_table(run) == {}
    assert client.ask("POST", "/decide", good)[0] == 200, "it has lived through all of that"
    assert set(in_table(run).values()) == {("same", run.images["file_hash"][a].as_py())}


def test_what_is_sent_can_be_drawn_but_not_run(client: Client, run: dupegrid.Run) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.port)
    for path in ("/", "/review.js", f"/original/{run.clusters['image'][0].as_py()}", "/nothing"):
        connection.request("GET", path, headers={"Cookie": client.cookie, "X-Dupegrid-Token": client.token})
        answer = connection.getresponse()
        answer.read()
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'; script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers
    connection.close()
    assert {"httponly", "samesite=strict"} <= set(client.ask("POST", "/session", {})[2].lower().split("; "))


def test_a_review_that_is_read_only_writes_nothing(run: dupegrid.Run) -> None:
    a, b = run.matches.to_pylist()[0]["a"], run.matches.to_pylist()[0]["b"]
    with Review(run) as review:
        decide = {"a": a, "b": b, "decision": "same", "keeper": a}
        assert Client(review).ask("POST", "/decide", decide)[0] == 200
        pairs = json.loads(Client(review).ask("POST", "/acceptable", {"filter": {}})[1])["pairs"]
    bodies = {"decide": decide, "accept": {"filter": {}, "pairs": pairs}, "back": {}, "plan": {}}
    before = tree_state(run.path)
    with Review(run, read_only=True) as review:
        client = Client(review)
        for name in WRITING:
            status, answer, _ = client.ask("POST", f"/{name}", bodies[name])
            assert status == 400, name
            assert "read-only" in json.loads(answer)["error"]
        assert client.ask("POST", "/groups", {"filter": {}, "choice": 1, "start": 0, "count": 5})[0] == 200
    assert tree_state(run.path) == before


def test_the_first_groups_and_all_of_them_are_the_same(run: dupegrid.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Review(run)
    asked = {"filter": {}, "choice": 1, "start": 0, "count": 50}
    expected = json.loads(Client(whole).ask("POST", "/groups", asked)[1])
    whole.close()
    monkeypatch.setattr(reviewing_module, "FIRST", 4)
    monkeypatch.setattr(reviewing_module, "MOST_AT_ONCE", 2)
    with Review(run) as review:
        client = Client(review)
        first = json.loads(client.ask("POST", "/groups", {**asked, "count": 2})[1])
        assert first["groups"] == expected["groups"][:2]
        client.ask("POST", "/decide", {"a": _ids(first)[0], "b": _ids(first)[1], "decision": "variant", "keeper": None})
        seen = [
            group["group"]
            for start in range(0, len(expected["groups"]), 2)
            for group in json.loads(client.ask("POST", "/groups", {**asked, "start": start, "count": 2})[1])["groups"]
        ]
        assert seen == [group["group"] for group in expected["groups"]]
        anew = json.loads(client.ask("POST", "/groups", {**asked, "choice": 2, "count": 2})[1])
        done = len(first["groups"][0]["members"]) == 2
        assert [group["group"] for group in anew["groups"]] == seen[done : done + 2], "another tab has its own places"
        again = json.loads(client.ask("POST", "/groups", {**asked, "count": 2})[1])
        assert [group["group"] for group in again["groups"]] == seen[:2]
        assert len(asked_of(run)) == len(expected["groups"])


def _ids(page: dict[str, Any]) -> list[int]:
    return [member["id"] for member in page["groups"][0]["members"]]


def test_no_two_reviews_have_thumbnails_at_one_address(run: dupegrid.Run) -> None:
    nonces, port = [], 0
    for _ in range(2):
        with Review(run, port) as review:
            client = Client(review)
            port = client.port
            nonces.append(json.loads(client.ask("POST", "/session", {})[1])["nonce"])
    assert nonces[0] != nonces[1]


def test_a_port_that_is_taken_is_one_line(run: dupegrid.Run) -> None:
    with Review(run) as review:
        port = Client(review).port
        with pytest.raises(UsageError, match="give --port another"):
            dupegrid.review(run, port=port, browser=False)
        done = command("review", str(run.path), "--port", str(port), "--no-browser")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for none in (70_000, 1.5, "80"):
        with pytest.raises(UsageError, match="is none: give 1 to 65535"):
            dupegrid.review(run, port=none, browser=False)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_command_serves_until_it_is_stopped(run: dupegrid.Run, tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    words = ["review", run.path, "--no-browser"]
    waits = (
        "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()"  # as a read of a lost disk
    )
    with started(f"{waits}; from dupegrid.app.command.cli import main; main()", *words, out=out, err=err) as process:
        waited_until(lambda: out.exists() and out.read_text().endswith("\n"))
        line = out.read_text()
        assert re.match(r"review: http://127\.0\.0\.1:\d+/#\S{43} ", line)
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
        assert process.exitcode == 0
    rest = out.read_text().removeprefix(line)
    assert err.read_text() == ""
    assert rest.startswith("review ended: 0 pairs decided")
    assert rest.count("\n") == 1
