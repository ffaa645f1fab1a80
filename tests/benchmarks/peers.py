"""The peers on the same pictures in the same run, each in an environment of its own, which this makes in .bench/."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import dupegrid
from tests.benchmarks.collection import crops, make_run, sources
from tests.benchmarks.measure import Row, compare_seconds
from tests.conftest import ROOT

ENVIRONMENTS = ROOT / ".bench"
SIDE = 64

DIFPY = """
import sys, time
import difPy
if __name__ == "__main__":
    built = difPy.build(sys.argv[1], px_size=64, show_progress=False)
    start = time.perf_counter()
    difPy.search(built, similarity="similar", rotate=True, same_dim=False, show_progress=False)
    print("seconds", time.perf_counter() - start)
"""

FAST_DIFF_PY = """
import sys, time
from fast_diff_py import Config, FastDifPy, FirstLoopConfig, SecondLoopConfig
if __name__ == "__main__":
    first, second = FirstLoopConfig(compute_hash=False), SecondLoopConfig(diff_threshold=600)
    config = Config(part_a=[sys.argv[1]], rotate=True, first_loop=first, second_loop=second)
    found = FastDifPy(config=config, purge=True)
    found.full_index()
    found.first_loop()
    start = time.perf_counter()
    found.second_loop()
    print("seconds", time.perf_counter() - start)
    found.cleanup()
"""

FAISS = """
import sys, time
import faiss, numpy as np
x = np.load(sys.argv[1]).astype(np.float32)
start = time.perf_counter()
index = faiss.IndexFlatL2(x.shape[1])
index.add(x)
index.range_search(x, float(sys.argv[2]) * x.shape[1])
print("seconds", time.perf_counter() - start)
"""

SCIKIT_LEARN = """
import sys, time
import numpy as np
from sklearn.neighbors import radius_neighbors_graph
x = np.load(sys.argv[1]).astype(np.float32)
start = time.perf_counter()
radius_neighbors_graph(x, (float(sys.argv[2]) * x.shape[1]) ** 0.5, n_jobs=-1)
print("seconds", time.perf_counter() - start)
"""


def environment(name: str, packages: list[str], python: str = sys.executable) -> str:
    """The Python of an environment with these packages, made if need be."""
    folder = ENVIRONMENTS / name
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "made").touch()
    return str(folder / "bin/python")


def measured(python: str, script: str, *words: str, timeout_s: float = 900) -> float:
    """The seconds that a script prints, among whatever its library prints."""
    file = ENVIRONMENTS / "script.py"
    file.write_text(script)
    done = subprocess.run([python, file, *words], capture_output=True, text=True, timeout=timeout_s, check=True)
    return float(re.findall(r"^seconds (\S+)$", done.stdout, re.MULTILINE)[-1])


def python_312() -> str | None:
    """A Python 3.12, which fast-diff-py 1.0.4 needs, or None."""
    for name in ("python3.12", str(Path.home() / ".pyenv/versions/3.12.1/bin/python")):
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    return None


def peers(folder: Path, ours_pairs_per_s: float, peer_images: int = 2000, vectors_images: int = 10_000) -> list[Row]:
    """difPy and fast-diff-py with rotations at their size beside our rate at ours; others on the same thumbnails."""
    photos = folder / "photos"
    photos.mkdir()
    for k, image in enumerate(crops(sources(), 0, peer_images, 160)):
        Image.fromarray(image).save(photos / f"{k:05d}.jpg", quality=90)
    pairs = peer_images * (peer_images - 1) / 2
    rows = []
    newer = python_312()
    for name, python, packages, script in (
        ("difPy 4.2.1", sys.executable, ["difPy==4.2.1"], DIFPY),
        ("fast-diff-py 1.0.4", newer, ["fast-diff-py==1.0.4"], FAST_DIFF_PY),
    ):
        if python is None:
            rows.append((name, "not measured", "it needs Python 3.12", "-"))
            continue
        rate = pairs / measured(environment(name.split()[0], packages, python), script, str(photos))
        what = f"rotations: ours at 60,000 thumbnails, {name} at {peer_images:,}"
        rows.append(
            (
                what,
                f"{ours_pairs_per_s / 1e6:,.0f} million pairs/s",
                f"{rate:,.0f} pairs/s",
                f"{ours_pairs_per_s / rate:,.0f}",
            )
        )
    run = make_run(folder / "vectors", vectors_images)
    vectors = folder / "vectors.npy"
    np.save(vectors, dupegrid.open_run(run).thumbs.compute().reshape(vectors_images, -1))
    others = (
        ("faiss IndexFlatL2.range_search", environment("faiss", ["faiss-cpu"]), FAISS),
        ("scikit-learn radius_neighbors_graph", environment("scikit-learn", ["scikit-learn"]), SCIKIT_LEARN),
    )
    for threshold in (50, 200):  # the default, and that of most rows above
        ours = compare_seconds(run, repeats=5, orientations="none", threshold=threshold)
        for name, python, script in others:
            theirs = measured(python, script, str(vectors), str(threshold))
            what = f"{vectors_images:,} thumbnails at {threshold}: ours, {name}"
            rows.append((what, f"{ours:.3f} s", f"{theirs:.1f} s", f"{theirs / ours:,.0f}"))
    return rows
