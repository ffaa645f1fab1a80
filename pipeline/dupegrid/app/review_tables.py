"""A run -> the tables of its review, of which only the columns are read that it needs."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from dupegrid.app.run import Run
from dupegrid.core.errors import DamagedError, StoreError
from dupegrid.results.groups import COLUMNS, OF_CLUSTERS
from dupegrid.storage.schemas import CLUSTERS, IMAGES
from dupegrid.storage.tables import check_ids, check_images, read_metadata, read_table


def read_tables(run: Run) -> tuple[pa.Table, pa.Table]:
    """The images and the clusters of a run. StoreError where it lacks a table, or one is of other settings."""
    images_path, clusters_path = run.existing("images.parquet", "index"), run.existing("clusters.parquet", "cluster")
    if run.saved["fingerprint"] not in ("", read_metadata(images_path).get("fingerprint")):
        raise StoreError("images.parquet is not the one that run.json is of: run 'dupegrid run' again to make it")
    if not run.is_clustered:
        raise StoreError("clusters.parquet is of other settings: make it again with 'dupegrid cluster'")
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read_table, images_path, IMAGES, list(COLUMNS))
        clusters = read_table(clusters_path, CLUSTERS, list(OF_CLUSTERS))
        images = check_images(images_path, reading.result())
    check_ids(clusters_path, clusters, ("image", "keeper"), len(images))
    if any(clusters[name].null_count for name in ("cluster", "image", "role", "keeper")):
        raise DamagedError(clusters_path, "it has rows without a cluster, an image, a role or a keeper")
    number = clusters["cluster"].to_numpy()
    if len(number) and (number[0] != 0 or not np.isin(np.diff(number), (0, 1)).all()):
        raise DamagedError(clusters_path, "its clusters are not numbered 0, 1, 2, ...")
    return images, clusters
