"""The report of many clusters: `python -m tests.benchmarks.page 20000`; needs chromium and playwright.

Tables are made by hand and thumbnails drawn. Measured are the time and memory to write the page, its size, and when its
first card can be seen in a browser, counted from when that was told to open it.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from dupegrid.results.drawn.report import report
from tests.conftest import CHROMIUM, CHROMIUM_FLAGS, picture
from tests.helpers.tables import many, summary

OPENED = 7  # times; the middle one counts


def noisy_thumbs() -> np.ndarray:
    """256 thumbnails whose files are as large as those of photos, some 1,100 bytes after their head."""
    noise = np.random.default_rng(0).normal(0, 9, (256, 64, 64, 1))
    soft = np.stack([np.asarray(picture(seed, (64, 64))) for seed in range(256)])
    return np.clip(soft + noise, 0, 255).astype(np.uint8)


def main(count: int) -> None:
    found, thumbs = many(count), noisy_thumbs()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        with open(page, "w") as out:
            out.writelines(report(found, lambda ids: thumbs[ids % 256], summary(found), {"orientations": ["all"]}))
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(f"{count:,} clusters, {len(found.clusters):,} pictures: {page.stat().st_size / 1e6:.0f} MB written in")
        print(f"{time.process_time() - start:.1f} s of CPU with {more / 1e3:.0f} MB more memory")
        print("ms until first card, all of the bar, end of the page:", *first_cards(page))


def first_cards(page: Path) -> list[int]:
    """The middle times in ms."""
    times = []
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        for _ in range(OPENED):
            tab = browser.new_page()
            tab.goto(page.as_uri())
            marks = "['first card', 'complete'].map(name => performance.getEntriesByName(name)[0].startTime)"
            end = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
            times.append([*tab.evaluate(marks), tab.evaluate(end)])
            tab.close()
        browser.close()
    return [round(value) for value in np.median(times, axis=0)]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
