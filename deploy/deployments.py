"""Entry points of the deployments in `prefect.yaml`: the flows, with a task runner that the environment chooses.

DASK_SCHEDULER_ADDRESS names a running scheduler; without it, each run has its own cluster on the machine of its Prefect
worker. A run that failed resumes where it stopped, so it is retried.
"""

import os
from typing import Any

from deploy import task_runners
from flows.backfill import backfill as _backfill
from flows.daily import daily as _daily
from flows.evaluate import evaluate as _evaluate
from flows.rebuild import rebuild as _rebuild
from flows.train_inverter import train_inverter as _train_inverter

RETRIES, RETRY_DELAY_S = 2, 300
"""Retries of a failed run, and seconds before each: for workers that died, and feeds or stores that did not answer."""


def _with_task_runner(flow: Any) -> Any:
    address = os.environ.get("DASK_SCHEDULER_ADDRESS", "")
    runner = (
        task_runners.make_remote_runner(address)
        if address
        else task_runners.make_local_runner(task_runners.choose_worker_count())
    )
    return flow.with_options(task_runner=runner, retries=RETRIES, retry_delay_seconds=RETRY_DELAY_S)


daily = _with_task_runner(_daily)
backfill = _with_task_runner(_backfill)
train_inverter = _with_task_runner(_train_inverter)
evaluate = _with_task_runner(_evaluate)
rebuild = _with_task_runner(_rebuild)
