"""What the deployments of `prefect.yaml` run: the flows, each with a task runner that the environment chooses.

DASK_SCHEDULER_ADDRESS names a scheduler that is running; unset, each run has a cluster of its own on the machine of its
Prefect worker. A run that failed goes on from where it stopped when it is tried again, so it is.
"""

import os
from typing import Any

from deploy import runners
from flows.backfill import backfill as _backfill
from flows.daily import daily as _daily
from flows.evaluate import evaluate as _evaluate
from flows.rebuild import rebuild as _rebuild
from flows.train_inverter import train_inverter as _train_inverter

AGAIN, AFTER = 2, 300
"""How often a run is tried again, and seconds before: workers that died, a feed or a store that did not answer for a while."""


def _deployed(flow: Any) -> Any:
    address = os.environ.get("DASK_SCHEDULER_ADDRESS", "")
    runner = runners.by_address(address) if address else runners.local(runners.cores())
    return flow.with_options(task_runner=runner, retries=AGAIN, retry_delay_seconds=AFTER)


daily = _deployed(_daily)
backfill = _deployed(_backfill)
train_inverter = _deployed(_train_inverter)
evaluate = _deployed(_evaluate)
rebuild = _deployed(_rebuild)
