"""A run -> the tables of its review, of which only the columns are read that it needs."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from dupegrid.app.run import Run
from dupegrid.results.groups import COLUMNS, OF_CLUSTERS
from dupegrid.results.stored import clusters_file, images_file
from dupegrid.storage.schemas import CLUSTERS, IMAGES
from dupegrid.storage.table_checks import check_clusters, check_images
from dupegrid.storage.tables import read_table


def read_tables(run: Run) -> tuple[pa.Table, pa.Table]:
    """The images and the clusters of a run. StoreError where it lacks a table, or one is of other settings."""
    images_path, clusters_path = images_file(run), clusters_file(run)
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read_table, images_path, IMAGES, list(COLUMNS))
        clusters = read_table(clusters_path, CLUSTERS, list(OF_CLUSTERS))
        images = check_images(images_path, reading.result())
    return images, check_clusters(clusters_path, clusters, len(images))
