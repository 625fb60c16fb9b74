"""Task runners: where the tasks of a flow run."""

import atexit
import logging
import os
import shutil
import tempfile
from typing import Any

import cloudpickle
import dask
from dask import annotate  # type: ignore[attr-defined]
from prefect_dask.task_runners import DaskTaskRunner

import deploy
import flows
import tasks
from interpdisc_core.images.memory_budget import find_machine_bytes

NETWORK_TASKS = frozenset(
    {
        "extract block",
        "explain picks",
        "prepare examples",
        "train epoch",
        "score inverter",
        "learn representation",
        "process shards",
    }
)
"""Names of the tasks that run a network; on a cluster with GPU workers they take one GPU each."""


_WORKER_BYTES = 3 << 29
"""Memory of a worker that renders, 1.5 GiB; see docs/sizing.md."""

MALLOC_ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**30)}
"""With these, glibc keeps the memory that a network frees for its next batch. Dask's own setting returns it at once, and
then half of the time of rendering is spent on getting it back. Set them for workers started by hand, too."""


class GpuDaskTaskRunner(DaskTaskRunner):
    """A Dask task runner that asks for one GPU per network task, if the cluster has workers with GPUs.

    Start one such worker per GPU: `CUDA_VISIBLE_DEVICES=i dask worker … --nworkers 1 --nthreads 1 --resources GPU=1`.
    """

    def submit(self, task: Any, *args: Any, **kwargs: Any) -> Any:
        """See `DaskTaskRunner.submit`."""
        if task.name in NETWORK_TASKS and self._has_gpu_workers():
            with annotate(resources={"GPU": 1}):
                return super().submit(task, *args, **kwargs)
        return super().submit(task, *args, **kwargs)

    def _has_gpu_workers(self) -> bool:
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return any(worker["resources"].get("GPU") for worker in workers)


def make_local_runner(workers: int) -> GpuDaskTaskRunner:
    """A cluster of `workers` processes on this machine, one thread each, on loopback, for the duration of a run."""
    for name, value in MALLOC_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Its HTTP servers ask nobody for a certificate: they say nothing. Prefect's UI shows the run.
    dask.config.set({"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []})
    return GpuDaskTaskRunner(
        cluster_class="distributed.LocalCluster",
        cluster_kwargs={
            "n_workers": workers,
            "threads_per_worker": 1,
            "host": "127.0.0.1",
            # Whoever reaches a scheduler runs code in it: a certificate of this run, kept in memory, shuts out other users.
            "security": True,
            "dashboard_address": "127.0.0.1:0",
            "scheduler_kwargs": {"dashboard": False},
            "silence_logs": logging.CRITICAL,
            "preload": ["deploy.workers"],
            "local_directory": _make_private_folder(),
            # Dask would end a worker at its share of the machine's memory, however much is free.
            "memory_limit": None,
        },
    )


def _make_private_folder() -> str:
    """A new folder for what workers spill, which only its owner can enter; it is removed when this process ends.

    Dask's own is shared by all users of the machine, and what is read back from it is unpickled.
    """
    folder = tempfile.mkdtemp(prefix="interpdisc-workers-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def make_remote_runner(address: str) -> GpuDaskTaskRunner:
    """A scheduler that is running. Its workers need only the library, Prefect and Dask, not this application.

    With each task travels the flow that it belongs to, and with that its runner; all of them are pickled by value.
    """
    for package in (deploy, flows, tasks):
        cloudpickle.register_pickle_by_value(package)
    return GpuDaskTaskRunner(address=address)


def choose_worker_count() -> int:
    """Workers for this machine: one for each core, and no more than its memory (or its container's) is enough for."""
    return max(1, min(count_cores(), find_machine_bytes() // _WORKER_BYTES))


def count_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
