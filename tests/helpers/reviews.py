"""Runs to review: small pictures in groups, and tables of a million images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

import dupegrid
from dupegrid.storage.tables import read_metadata, write_table
from tests.helpers.tables import many


def drawn_groups(folder: Path, groups: int, seed: int = 0) -> Path:
    """So many groups of 2 to 4 pictures that differ by a patch, some with copies, and pictures like no other."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for group in range(groups):
        base = random.integers(0, 256, (24 + group % 5, 24, 3), dtype=np.uint8)
        for member in range(2 + group % 3):
            pixels = base.copy()
            pixels[member : member + 2, :3] ^= 40
            Image.fromarray(pixels).save(folder / f"{group:03d}-{member}.png", pnginfo=None)
        if group % 4 == 0:
            (folder / f"{group:03d}-copy.png").write_bytes((folder / f"{group:03d}-1.png").read_bytes())
    for single in range(3):
        Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(folder / f"single-{single}.png")
    return folder


def run_of(folder: Path, out: Path) -> dupegrid.Run:
    """What a run on those finds."""
    return dupegrid.run(folder, out=out, thumb=16, scheduler="sync")


@dataclass(frozen=True)
class Asked:
    """A group as it is to be asked about: hashes, the one to keep first."""

    cluster: int
    hashes: list[str]


def asked_of(run: dupegrid.Run) -> list[Asked]:
    """The groups of a run in the order of what they would free, by the tables alone, one row at a time."""
    images, of_cluster = run.images.to_pylist(), {}
    for row in run.clusters.to_pylist():
        of_cluster.setdefault(row["cluster"], []).append(row)
    found = []
    for cluster, rows in of_cluster.items():
        freed = sum(images[row["image"]]["size_bytes"] for row in rows if row["role"] == "duplicate")
        place = {"keep": 0, "bridge": 1, "duplicate": 2}
        rows = sorted(rows, key=lambda row: (place[row["role"]], row["mse_to_keeper"] or 0, row["image"]))
        hashes = list(dict.fromkeys(images[row["image"]]["file_hash"] for row in rows))
        if len(hashes) > 1:
            found.append((-freed, cluster, Asked(cluster, hashes)))
    return [asked for _, _, asked in sorted(found, key=lambda each: each[:2])]


def million(folder: Path, clusters: int) -> dupegrid.Run:
    """A run whose tables are of three times as many images as clusters; its thumbnails are noise."""
    run = run_of(drawn_groups(folder / "pictures", 2), folder / "run")
    made = many(clusters)
    hashes = pa.array([f"{k:032x}" for k in range(len(made.images))])
    images = made.images.set_column(made.images.column_names.index("file_hash"), "file_hash", hashes)
    write_table(run.path / "images.parquet", images, read_metadata(run.path / "images.parquet"))
    write_table(run.path / "clusters.parquet", made.clusters, read_metadata(run.path / "clusters.parquet"))
    return Noisy(run.path, run.config)


class Noisy(dupegrid.Run):
    """A run whose thumbnails are noise, the same for all."""

    def thumbs_of(self, ids: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        return np.repeat(noise[None], len(ids), axis=0)
