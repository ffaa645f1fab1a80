"""A run -> the tables of its review, of which only the columns are read that it needs."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from dupegrid.app.run import Run
from dupegrid.core.errors import StoreError
from dupegrid.results.groups import COLUMNS, OF_CLUSTERS
from dupegrid.storage.made_up import check_clusters, check_images
from dupegrid.storage.schemas import CLUSTERS, IMAGES
from dupegrid.storage.tables import read_metadata, read_table


def read_tables(run: Run) -> tuple[pa.Table, pa.Table]:
    """The images and the clusters of a run. StoreError where it lacks a table, or one is of other settings."""
    images_path, clusters_path = run.existing("images.parquet"), run.existing("clusters.parquet")
    if run.saved["fingerprint"] not in ("", read_metadata(images_path).get("fingerprint")):
        raise StoreError("images.parquet is not the one that run.json is of: run 'dupegrid run' again to make it")
    if not run.is_clustered:
        raise StoreError("clusters.parquet is of other settings: make it again with 'dupegrid cluster'")
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read_table, images_path, IMAGES, list(COLUMNS))
        clusters = read_table(clusters_path, CLUSTERS, list(OF_CLUSTERS))
        images = check_images(images_path, reading.result())
    return images, check_clusters(clusters_path, clusters, len(images))
