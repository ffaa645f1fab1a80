"""The whole all-to-all MSE matrix: lazy, any window of it; or stored, chunk by chunk, in mse.zarr."""

import math
import shutil
import uuid
import warnings
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from dupegrid.core.arrays import CHANNELS, CHOICES, Bools, Ints, named_module, on_host
from dupegrid.core.blas import one_blas_thread
from dupegrid.core.config import Config
from dupegrid.core.errors import StoreError, UsageError
from dupegrid.core.progress import Reporter
from dupegrid.core.tasks import Runtime
from dupegrid.core.text import size_text
from dupegrid.pairs.ask import read_facts
from dupegrid.pairs.device import device_of
from dupegrid.pairs.kernel import mse_block
from dupegrid.storage.arrays import Matrix, Thumbs
from dupegrid.storage.bucket import BucketPath
from dupegrid.storage.hold import current_hold
from dupegrid.storage.run_dir import RunDir
from dupegrid.storage.unfinished import check_finished

if TYPE_CHECKING:
    import dask.array as da

_SIDE: Final = 1024  # of a chunk, at most: fewer images are one chunk of their own size
_LAZY_SIDE: Final = 64  # of a block of the lazy one, at least: all of 259 images took 0.4 s of CPU, 1.4 with 16


def lazy(thumbs: Thumbs, at_once: int = 1) -> "da.Array":
    """The thumbnails as a dask array: uint8 (n, S, S, 3), a chunk of the store a chunk, or so many of these."""
    import dask.array as da  # here, as it takes a while and most commands do without

    name = f"thumbs-{uuid.uuid4().hex}"
    cuts = [*range(0, max(1, len(thumbs)), thumbs.chunk * at_once), len(thumbs)]
    blocks = {(name, k, 0, 0, 0): (thumbs.rows, slice(*ends)) for k, ends in enumerate(pairwise(cuts))}
    sizes = tuple(stop - start for start, stop in pairwise(cuts))
    return da.Array(blocks, name, (sizes, (thumbs.side,), (thumbs.side,), (CHANNELS,)), np.uint8)


def mse_matrix(thumbs: Thumbs, ok: Bools, orientations: tuple[str, ...], module: str) -> "da.Array":
    """The all-to-all MSE matrix, lazy: float64 (n, n); any window computes exactly. NaN where a file was not read.

    Its blocks are arrays of the module of that name.
    """
    import dask.array as da

    images = lazy(thumbs, math.ceil(_LAZY_SIDE / thumbs.chunk))
    readable = da.from_array(ok, chunks=images.chunks[0])
    block, meta = partial(_masked_mse, orientations=orientations, module=module), named_module(module).empty((0, 0))
    operands = images, "iabc", images, "jabc", readable, "i", readable, "j"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", da.PerformanceWarning)  # an all-to-all matrix has more chunks than its input
        return da.blockwise(block, "ij", *operands, dtype=np.float64, concatenate=True, meta=meta)


def labelled(mse: "da.Array", images: pa.Table) -> Any:
    """The matrix as an xarray.DataArray, as lazy as it is: rows `a` and columns `b` by path, their ids beside them.

    UsageError where xarray is not installed.
    """
    try:
        from xarray import DataArray
    except ImportError:
        raise UsageError("a DataArray needs xarray: pip install 'dupegrid[notebooks]'") from None
    paths, ids = images["path"].to_numpy(), images["id"].to_numpy()
    by_path = {"a": paths, "b": paths, "id_a": ("a", ids), "id_b": ("b", ids)}
    return DataArray(mse, by_path, ("a", "b"), name="mse", attrs={"long_name": "mean squared error"})


def store_matrix(images_key: str, config: Config, run_dir: RunDir, runtime: Runtime, reporter: Reporter) -> None:
    """Store all of the matrix in mse.zarr, float64 (n, n), going on where an earlier run stopped.

    UsageError, naming the size, when the disk has no room for it.
    """
    path, n = run_dir.matrix_zarr, len(run_dir.thumbs())
    side, made_of = max(1, min(n, _SIDE)), {"images": images_key, "orientations": config.orientations}
    matrix = None
    with suppress(StoreError):
        matrix = Matrix(path)
    if matrix is None or (matrix.facts, matrix.shape, matrix.chunks) != (made_of, (n, n), (side, side)):
        need = 8 * n * n
        room = math.inf if isinstance(run_dir.path, BucketPath) else shutil.disk_usage(run_dir.path).free
        if need > room:
            raise UsageError(
                f"the whole matrix of {n:,} images takes {size_text(need)}, and the disk has {size_text(room)} left: "
                "leave --matrix out; Run.mse computes any window of it"
            )
        matrix = Matrix.create(path, n, side, made_of)
    done, chunks = matrix.done(), matrix.count
    pending = [(i, j) for i in range(chunks) for j in range(i, chunks) if not {(i, j), (j, i)} <= done]
    total = chunks * (chunks + 1) // 2
    with reporter.stage("matrix", total, "chunks", total - len(pending)) as advance:
        orientations, module = CHOICES[config.orientations], device_of(config) or "numpy"
        task = partial(_store_chunk, run_dir, current_hold().token, orientations, module)
        aside = runtime.each(task, np.array(pending, np.int64), advance)
    missing = [("chunk {}, {}".format(*it.item), 1, it.problem) for it in aside]
    check_finished(run_dir, "matrix", "chunks", missing)


def _store_chunk(run_dir: RunDir, token: str, orientations: tuple[str, ...], module: str, place: Ints) -> int:
    """One chunk of the matrix, by its place int64 (2,), and its mirror image, each written whole. Returns 1."""
    i, j = place.tolist()
    thumbs, ok, matrix = run_dir.thumbs(), read_facts(run_dir).ok, Matrix(run_dir.matrix_zarr)
    a, b = (slice(k * matrix.chunks[0], min(len(thumbs), (k + 1) * matrix.chunks[0])) for k in (i, j))
    block = on_host(_masked_mse(thumbs.rows(a), thumbs.rows(b), ok[a], ok[b], orientations, module))
    with run_dir.writing_for(token):
        matrix.write((i, j), block)
        if i != j:
            matrix.write((j, i), block.T)
    return 1


def _masked_mse(a: Any, b: Any, a_ok: Any, b_ok: Any, orientations: tuple[str, ...], module: str) -> Any:
    xp = named_module(module)
    with one_blas_thread():  # of 1,024 images all in 1.8 s of CPU, 5.4 where threads of dask and BLAS fight
        mse = mse_block(xp.asarray(a), xp.asarray(b), orientations)
    return xp.where(xp.asarray(a_ok[:, None] & b_ok[None, :]), mse, xp.nan)
