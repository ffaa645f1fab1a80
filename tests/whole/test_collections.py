"""Real collections of bad files, odd modes and odd names, as a whole."""

import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dupegrid
from dupegrid.core.text import printable
from dupegrid.images.recipe import Reading, decode
from tests.conftest import picture
from tests.helpers.forks import command
from tests.helpers.names import naughty_names
from tests.helpers.pages import Page, assert_harmless

READING = Reading(64)


@pytest.mark.slow
def test_a_thousand_files_made_to_break_decoders(data: Path, tmp_path: Path) -> None:
    files = [path for path in (data / "nasty").rglob("*") if path.is_file()]
    errors = tmp_path / "stderr"
    with errors.open("wb") as stderr:
        done = subprocess.run(
            [sys.executable, "-m", "dupegrid", "run", data / "nasty", "--out", tmp_path / "run", "--json"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            check=False,
        )
    assert done.returncode == 0
    stages = ("list: ", "index: ", "sort: ", "compare: ")
    assert all(line.startswith(stages) for line in errors.read_text().splitlines())
    run = dupegrid.open_run(tmp_path / "run")
    assert len(run.images) == len(files) == len(set(run.images["path_raw"].to_pylist()))
    status = run.images["status"].to_pylist()
    assert run.summary.ok + sum(run.summary.failed.values()) == len(files)
    assert status.count("ok") > 700
    assert "timeout" not in status
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert largest < 1_500_000_000


def test_modes_look_like_their_rgb_twin(data: Path) -> None:
    folder = data / "formats/modes"
    twin = decode((folder / "RGB.jpg").read_bytes(), READING).thumb
    assert twin is not None
    for name in ("P.png", "PA.webp", "RGBA.png", "CMYK.jpg", "YCbCr.jpg", "LAB.webp", "HSV.webp"):
        thumb = decode((folder / name).read_bytes(), READING).thumb
        assert thumb is not None
        assert np.mean((thumb.astype(float) - twin) ** 2) <= 2, name


def test_deep_pictures_are_not_white(data: Path) -> None:
    checked = 0
    for file in sorted((data / "nasty").rglob("*")):
        if file.suffix.lower() in (".tif", ".tiff", ".png", ".pgm", ".ppm", ".pfm", ".im") and file.is_file():
            decoded = decode(file.read_bytes(), READING)
            if decoded.thumb is not None and (decoded.mode or "").startswith(("I", "F")):
                checked += 1
                values = decoded.thumb.astype(float)
                assert decoded.flat or values.min() < 250, file.name
    assert checked > 10


def test_all_names_come_back_exactly(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "photos")
    os.mkdir(folder)
    drawn = []
    for seed in range(9):
        picture(seed, (16, 16)).save(buffer := io.BytesIO(), "PNG")
        drawn.append(buffer.getvalue())
    paths = [folder + b"/" + name for name in naughty_names()]
    for number, path in enumerate(paths):
        with open(path, "wb") as file:
            file.write(drawn[number % 9])
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", thumb=16, quiet=True)
    assert sorted(run.images["path_raw"].to_pylist()) == sorted(paths)
    assert set(run.images["status"].to_pylist()) == {"ok"}
    shown = dict(zip(run.images["path_raw"].to_pylist(), run.images["path"].to_pylist(), strict=True))
    assert set(run.clusters["path"].to_pylist()) == set(shown.values())
    assert len(set(shown.values())) == 329
    page = Page.of(run.path)
    assert sorted(page.paths) == sorted(paths)
    assert_harmless(page)
    text = (run.path / "report.html").read_text()
    assert text.lower().count("<script") == [tag for tag, _ in page.elements].count("script")
    assert all(character.isprintable() or character == "\n" for character in text)
    for path in paths:
        assert printable(shown[path]).isprintable()
    assert "not read: none" in command("status", run.path).stdout
