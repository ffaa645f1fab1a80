"""The review by keyboard: `python -m tests.benchmarks.review 333334 200`; needs chromium and playwright.

First, on made up tables of so many clusters (three images each), how long until the first group can be seen: of the
server alone, and of a browser that is already running. Then so many groups of drawn pictures are decided, and the time
from each key to the drawing of the next pair is taken, in the page.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

import dupegrid
from dupegrid.app.review.served import Review
from tests.conftest import CHROMIUM, CHROMIUM_FLAGS
from tests.helpers.reviews import drawn_groups, million, run_of

_KEYS = "addEventListener('keydown', event => (window.pressed ||= []).push(event.timeStamp), true)"
_DRAWN = "performance.getEntriesByName('pair drawn').map(mark => mark.startTime)"


def until(page: Any, expression: str) -> None:
    while not page.evaluate(expression):
        time.sleep(0.005)


def first_group(run: dupegrid.Run, browser: Any) -> None:
    page = browser.new_page()
    start = time.perf_counter()
    with Review(run) as review:
        listening = time.perf_counter()
        page.goto(review.url)
        until(page, _DRAWN + ".length > 0")
        seen, inside = time.perf_counter(), page.evaluate(_DRAWN)[0]
        print(f"listening after {listening - start:.2f} s, first group drawn {inside / 1e3:.2f} s after the page was")
        print(f"asked for, seen from here {seen - start:.2f} s after the start")
    page.close()


def keys(run: dupegrid.Run, browser: Any) -> None:
    page = browser.new_page(reduced_motion="reduce")
    page.add_init_script(_KEYS)
    taken = []
    with Review(run) as review:
        page.goto(review.url)
        until(page, _DRAWN + ".length > 0")
        start, count = time.perf_counter(), 0
        while page.locator(".ending").is_hidden():
            time.sleep(0.15)  # whoever decides looks at it
            page.keyboard.press("adsn"[count % 4])
            count += 1
            more = f"{_DRAWN}.length > {count} || !document.querySelector('.ending').hidden"
            until(page, more)
        pressed, drawn = page.evaluate("window.pressed"), page.evaluate(_DRAWN)[1:]
        taken = np.subtract(drawn, pressed[: len(drawn)])
        print(f"{count} decisions in {time.perf_counter() - start:.0f} s, from key to the next pair in ms: median")
        print(f"{np.median(taken):.1f}, 95 of 100 under {np.quantile(taken, 0.95):.1f}, at most {taken.max():.1f}")
    page.close()


def main(clusters: int, groups: int) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        first_group(million(Path(folder) / "many", clusters), browser)
        keys(run_of(drawn_groups(Path(folder) / "drawn", groups), Path(folder) / "run"), browser)
        browser.close()


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]) if len(sys.argv) > 1 else (333_334, 200))
