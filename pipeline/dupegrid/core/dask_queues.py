"""Clusters whose workers a queue starts: jobs of Slurm, pods of Kubernetes, of which dask's configuration says more."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import dask

from dupegrid.core.dask_clients import Say, client_of, silent
from dupegrid.core.errors import ConfigError

_EXTRA: Final = {"slurm": "dask-jobqueue", "kubernetes": "dask-kubernetes"}


@contextmanager
def queue_client(scheduler: str, workers: int | None, say: Say) -> Iterator[Any]:
    """A client of a cluster in a queue, slurm or kubernetes, that ends with it.

    It has `workers` of them, or as many as there is work for, within distributed.adaptive of dask's configuration.
    ConfigError where the library is lacking, or its configuration does not do.
    """
    most = dask.config.get("distributed.adaptive.maximum", math.inf)
    if workers is None and most == math.inf:
        raise ConfigError(
            f"scheduler {scheduler!r} needs to know how many workers to ask for: give --workers, or set "
            "distributed.adaptive.maximum in dask's configuration for as many as there is work for"
        )
    with silent(), _started(scheduler) as cluster:
        if workers is None:
            cluster.adapt(minimum=dask.config.get("distributed.adaptive.minimum", 0), maximum=most)
        else:
            cluster.scale(workers)
        say(f"{scheduler}: a dask cluster at {cluster.scheduler_address}, its dashboard is {cluster.dashboard_link}")
        with client_of(cluster) as client:
            yield client


@contextmanager
def _started(scheduler: str) -> Iterator[Any]:
    try:
        if scheduler == "slurm":
            from dask_jobqueue import SLURMCluster

            cluster = SLURMCluster()
        else:
            from dask_kubernetes.operator import KubeCluster

            cluster = KubeCluster(n_workers=0, quiet=True)
    except ImportError:
        raise ConfigError(
            f"scheduler {scheduler!r} needs {_EXTRA[scheduler]}: pip install 'dupegrid[{scheduler}]'"
        ) from None
    except Exception as error:  # whatever a queue, or the network to it, may raise
        text = " ".join(str(error).split())
        section = "jobqueue.slurm" if scheduler == "slurm" else "kubernetes"
        raise ConfigError(
            f"scheduler {scheduler!r} cannot start a cluster: {text[:300]}; see {section} in dask's configuration"
        ) from None
    with cluster:
        yield cluster
