"""Task runners: where the tasks of a flow run."""

import os
from typing import Any

import cloudpickle
from dask import annotate  # type: ignore[attr-defined]
from prefect_dask.task_runners import DaskTaskRunner

import deploy
import flows
import tasks
from interpdisc_core.errors import PlanError

HEAVY = frozenset({"extract", "explain", "prepare", "train", "score", "learn", "backfill"})
"""Tasks that run a network; on a cluster with GPU workers they take one GPU each."""


MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**30)}
"""glibc keeps what a network frees for its next batch. Dask's own setting gives it back at once, and half of the
rendering's time goes into asking for it again; set this for workers started by hand too."""


class WorkerRunner(DaskTaskRunner):
    """A Dask task runner that asks for one GPU a network task, where the cluster has workers that offer them.

    Start such workers one a GPU: `CUDA_VISIBLE_DEVICES=i dask worker … --nworkers 1 --nthreads 1 --resources GPU=1`.
    """

    def submit(self, task: Any, *args: Any, **kwargs: Any) -> Any:
        """See `DaskTaskRunner.submit`."""
        if task.name in HEAVY and self._gpus():
            with annotate(resources={"GPU": 1}):
                return super().submit(task, *args, **kwargs)
        return super().submit(task, *args, **kwargs)

    def _gpus(self) -> bool:
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return any(worker["resources"].get("GPU") for worker in workers)


def local(workers: int) -> WorkerRunner:
    """A cluster of `workers` processes on this machine, one thread each, on loopback, for the time of a run."""
    for name, value in MEMORY.items():
        os.environ.setdefault(name, value)
    return WorkerRunner(
        cluster_class="distributed.LocalCluster",
        cluster_kwargs={
            "n_workers": workers,
            "threads_per_worker": 1,
            "host": "127.0.0.1",
            "dashboard_address": "127.0.0.1:0",
            "silence_logs": 40,
            "preload": ["deploy.workers"],
        },
    )


def by_address(address: str) -> WorkerRunner:
    """A scheduler that is running. Its workers need not have the checkout: the core, Prefect and Dask are enough.

    With each task travels the flow that it belongs to, and with that its runner; all of them go by value.
    """
    for package in (deploy, flows, tasks):
        cloudpickle.register_pickle_by_value(package)
    return WorkerRunner(address=address)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_of(address: str) -> int:
    """How many workers a running scheduler has. Raises PlanError where there is none at `address`."""
    from distributed import Client

    try:
        with Client(address, timeout=10, set_as_default=False) as client:
            return max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    except OSError as error:
        raise PlanError(f"no Dask scheduler answers at {address}: {error}") from error
