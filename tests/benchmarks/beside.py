"""This tree beside another checkout of it, in turn: `make bench OTHER=../older [MILLION=1]`.

Each measurement is a process of its own, so that both trees use the same Python and the same libraries.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import Row, collections

HERE = Path(__file__).parents[2]

_MAKE = """
import sys
from pathlib import Path
from tests.benchmarks.collection import make_run
make_run(Path(sys.argv[1]), int(sys.argv[2]))
"""
_COMPARE = """
import json, sys, time
from pathlib import Path
import dupegrid
from tests.benchmarks.measure import forget
run, repeats, settings = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
times = []
for _ in range(repeats + 1):
    forget(run)
    wall, cpu = time.perf_counter(), time.process_time()
    dupegrid.compare(run, quiet=True, scheduler="threads", cutoff=settings["threshold"], **settings)
    times.append((time.perf_counter() - wall, time.process_time() - cpu))
print(json.dumps([min(column) for column in zip(*(times[1:] or times))]))
"""
_INDEX = """
import json, shutil, sys, time
import dupegrid
times = []
for _ in range(3):
    shutil.rmtree(sys.argv[2], ignore_errors=True)
    start = time.perf_counter()
    dupegrid.index(sys.argv[1], out=sys.argv[2], quiet=True)
    times.append(time.perf_counter() - start)
print(json.dumps([min(times[1:]), 0.0]))
"""
_RUN = """
import sys
import dupegrid
dupegrid.run(sys.argv[1], out=sys.argv[2], quiet=True)
"""
_STATUS = """
import json, subprocess, sys, time
start = time.perf_counter()
subprocess.run([sys.executable, "-m", "dupegrid", "status", sys.argv[1]], check=True, stdout=subprocess.DEVNULL)
print(json.dumps([time.perf_counter() - start, 0.0]))
"""


def one(tree: Path, script: str, *arguments: object) -> Any:
    """What a script prints that runs in a process of its own, on one of the two trees."""
    surroundings = os.environ | {"PYTHONPATH": f"{tree / 'pipeline'}{os.pathsep}{tree}"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=tree, env=surroundings, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout) if done.stdout else None


def pair(trees: dict[str, Path], label: str, script: str, arguments: dict[str, list[object]], rounds: int) -> Row:
    """One row: the medians of both trees, taken in turn, and their ratio in wall and CPU time."""
    seen: dict[str, list[list[float]]] = {name: [] for name in trees}
    for turn in range(rounds):
        for name in list(trees)[:: -1 if turn % 2 else 1]:
            seen[name].append(one(trees[name], script, *arguments[name]))
    (wall, cpu), (old_wall, old_cpu) = (
        [statistics.median(column) for column in zip(*seen[name], strict=True)] for name in ("new", "old")
    )
    more = f"{wall / old_wall:.2f}" + (f" (CPU {cpu / old_cpu:.2f})" if old_cpu else "")
    print(label, more, flush=True)
    return label, f"{wall:.3f} s", f"{old_wall:.3f} s, the other tree", more


def beside(folder: Path, other: Path, million: bool, rounds: int = 5) -> list[Row]:
    """The rows of both stages and of `status`, each measured in both trees in turn."""
    trees, rows = {"new": HERE, "old": other.resolve()}, []
    for name, photos in collections(folder, 4000).items():
        for tree in trees:
            one(trees[tree], _RUN, photos, folder / f"run-{name}-{tree}")
        finished: dict[str, list[object]] = {tree: [folder / f"run-{name}-{tree}"] for tree in trees}
        rows.append(pair(trees, f"status of a run of {name}", _STATUS, finished, rounds))
        rows.append(pair(trees, f"index {name}", _INDEX, {t: [photos, folder / f"index-{t}"] for t in trees}, rounds))
    sizes = [(10_000, 4), (60_000, 3)] + [(1_000_000, 0)] * million
    for n, repeats in sizes:
        runs = {t: folder / f"{t}{n}" for t in trees}
        for name, tree in trees.items():
            one(tree, _MAKE, runs[name], n)
        os.sync()
        for orientations, threshold in (("none", 200), ("none", 50), ("rotations", 50))[1 if repeats == 0 else 0 :]:
            settings = json.dumps({"threshold": float(threshold), "orientations": orientations})
            arguments: dict[str, list[object]] = {t: [runs[t], repeats, settings] for t in trees}
            label = f"compare {n:,}, {orientations}, T = {threshold}"
            rows.append(pair(trees, label, _COMPARE, arguments, rounds if repeats else 3))
    return rows
