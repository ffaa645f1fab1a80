"""Pictures for the tests, drawn small; and the real ones, where they are.

The process that hands tests out to others loads this too, and nothing runs beside it then: dupegrid is loaded later.
"""

import gc
import importlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

import dupegrid

TESTS = Path(__file__).parent
ROOT = TESTS.parent
LONG = bool(os.environ.get("DUPEGRID_LONG"))  # as in `make test-crash`
EVERY = 1 if LONG else 8  # moments at which runs are stopped: all in `make test-crash`
SHARED = ROOT.parent / "shared"
MEMORY = "/dev/shm"  # a file system in memory, on Linux
CHROMIUM = shutil.which("chromium")
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
CHROMIUM_FLAGS += ["--disable-background-networking", "--disable-component-update"]

settings.register_profile("default", deadline=None, max_examples=60 if LONG else 30)
settings.load_profile("default")


def pytest_configure() -> None:
    """What is imported while tests are collected stays: looking for what can go takes a tenth of that time.

    What tests write is written to memory where there is room; to the disk in long forms, and where it is the point.

    Small files cost half of the time on a disk that is not even flushed; see decisions/0012.
    """
    gc.disable()
    room = os.statvfs(MEMORY) if not LONG and os.access(MEMORY, os.W_OK) else None
    if room is not None and room.f_bavail * room.f_frsize > 3 << 30 and not room.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)


def pytest_collection(session: pytest.Session) -> None:
    """Side by side, each process imports another part first of what all of them import to collect the whole suite.

    In a fresh clone nothing is compiled, and all compiled the same at the same moment: three took 38 s of CPU. Now each
    finds what another has compiled, and they take 25; where all is compiled, 12 either way.
    """
    worker, asked = os.environ.get("PYTEST_XDIST_WORKER"), session.config.args_source
    if worker is None or asked is not pytest.Config.ArgsSource.TESTPATHS:
        return
    first, tests = (
        [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(TESTS.glob(f"*/{kind}.py"))]
        for kind in ("conftest", "test_*")
    )
    for part in (["pandas", "distributed", "zarr", "dupegrid.app.command.cli"], first, tests):
        start = len(part) * int(worker[2:]) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        for name in (*part[start:], *part[:start]):
            with suppress(Exception, pytest.skip.Exception):  # collecting says it again
                importlib.import_module(name)


def pytest_collection_finish() -> None:
    """Nor is it looked at later, or copied by a fork for that; and what tests leave is looked for less often.

    At every 700 new objects, as Python does, that takes 3 % of the CPU time of all tests.
    """
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take long come first: side by side, no process is left alone with one in the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _unflushed() -> Iterator[None]:
    """Nothing waits for the disk: that a file was flushed to it shows only where the power is cut, and no test does.

    Nor does what failed wait long before it is tried again.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        patch.setattr("dupegrid.core.tasks._PAUSE_S", 0.01)
        yield


@pytest.fixture
def disk_path() -> Iterator[Path]:
    """A folder on a disk, for tests of what file systems do: in a file of them it takes the place of `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="dupegrid-") as folder:
        yield Path(folder).resolve()


def elsewhere(path: Path) -> str:
    """A place on another file system than a path is on; skips where there is none."""
    for place in (MEMORY, tempfile.gettempdir()):
        if os.access(place, os.W_OK) and os.stat(place).st_dev != os.stat(path).st_dev:
            return place
    pytest.skip(f"no second file system here ({MEMORY})")


@pytest.fixture
def workers_forked() -> Iterator[None]:
    """Workers that are processes start sooner."""
    from tests.helpers.forks import forked_workers

    with forked_workers():
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that does not answer is given up soon."""
    monkeypatch.setattr("dupegrid.core.dask_clients._ANSWER_S", 0.5)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's pictures, fewer and smaller: 20 originals, two plants a kind, three unreadable files."""
    from dupegrid.app import demo

    folder, drawn = tmp_path_factory.mktemp("drawn") / "pictures", demo.drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "drawn", lambda random: drawn(random).reduce(2))
        demo.draw(folder, originals=20, each_kind=2)
    return folder


@pytest.fixture(scope="session")
def put_index(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Puts the index of those pictures in a place, for runs that need not make it: it is made once a thumbnail's side.

    To make it takes 170 ms of CPU, and a run that goes on with it 100.
    """

    @cache
    def made(thumb: int) -> Path:
        return dupegrid.index(pictures, out=tmp_path_factory.mktemp("index") / "run", thumb=thumb, quiet=True).path

    return lambda out, thumb=64: shutil.copytree(made(thumb), out)


@pytest.fixture
def one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """All images of a run in one chunk, each of which takes 10 ms: for many copies, where chunks are not the point."""
    monkeypatch.setattr("dupegrid.images.index.chunk_size", lambda *_: 512)


@pytest.fixture
def image_tree(tmp_path: Path) -> Path:
    """A small tree: two equal pictures in two folders, another picture, a broken file and a text."""
    return draw_tree(tmp_path / "tree")


def draw_tree(root: Path) -> Path:
    """Draw that tree."""
    for name, seed in (("a/one.png", 1), ("b/same as one.png", 1), ("b/other.jpg", 2)):
        save(root / name, seed)
    (root / "broken.jpg").write_bytes((root / "b/other.jpg").read_bytes()[:-600])
    (root / "notes.txt").write_text("no picture")
    return root


@pytest.fixture
def data() -> Path:
    """The folder of real pictures."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("no real pictures beside this checkout (../shared/data)")
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded."""
    from dupegrid.images import chunk as chunk_module

    names: list[str] = []
    decode_files = chunk_module.decode_files

    def watched(files: list, *rest: object) -> object:
        names.extend(os.path.basename(os.fsdecode(file.path_raw)) for file in files)
        return decode_files(files, *rest)

    monkeypatch.setattr(chunk_module, "decode_files", watched)
    return names


def refuse_listing(monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    """Have the system refuse to list folders of this name."""
    scandir = os.scandir

    def refuse(path: bytes | int) -> object:
        if not isinstance(path, int) and os.path.basename(os.fsencode(path)) == name:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def picture(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A picture unlike those of other seeds: soft colours."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def save(path: Path, seed: int, **options: object) -> Path:
    """Draw and save a picture, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if options:
        picture(seed).save(path, **options)
    else:
        path.write_bytes(_encoded(seed, path.suffix.lower()))
    return path


@cache
def _encoded(seed: int, suffix: str) -> bytes:
    """The file of a picture. Thousands are written, of few seeds, and to draw a PNG takes 3 ms."""
    picture(seed).save(buffer := io.BytesIO(), Image.registered_extensions()[suffix])
    return buffer.getvalue()


def noise(path: Path, seed: int, mtime_s: int | None = None) -> Path:
    """A picture in a file whose size does not depend on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    if mtime_s is not None:
        os.utime(path, (mtime_s, mtime_s))
    return path


def named_matches(run: "dupegrid.Run") -> set[tuple[frozenset[str], int]]:
    """The matches without ids: which two paths, and how far apart."""
    rows = run.matches.select(["path_a", "path_b", "sse"]).to_pylist()
    return {(frozenset((row["path_a"], row["path_b"])), row["sse"]) for row in rows}


def tree_state(folder: Path) -> dict[bytes, tuple[int, int]]:
    """Every path below a folder with its size and mtime: equal when nothing was touched."""
    paths = [os.path.join(base, name) for base, dirs, files in os.walk(os.fsencode(folder)) for name in [*dirs, *files]]
    return {path: (os.lstat(path).st_size, os.lstat(path).st_mtime_ns) for path in paths}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, for the tests of a file: while playwright is open no other loop runs in its thread."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install '.[dev]'")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as tool:
        started = tool.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield started
        started.close()
