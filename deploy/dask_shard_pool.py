"""The shards of a selection on the workers of a Dask cluster.

A worker that dies is replaced: another builds its shard from the store.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from deploy.dask_cluster import connect_scheduler, list_workers
from interpdisc_core.errors import InterpdiscError
from interpdisc_core.selectors.exact.moments import Moments
from interpdisc_core.selectors.exact.remote_pool import RemoteShardPool
from interpdisc_core.selectors.exact.remote_shard import (
    ShardRequest,
    ShardResponse,
    StateLost,
    handle_request,
    release_shard,
)
from interpdisc_core.selectors.exact.shard_pool import ShardSpec
from interpdisc_core.selectors.rows import Rows

_LIVENESS_CHECK_S = 2.0
"""Seconds without a response until it is checked whether the worker is still there."""
_WORKER_TIMEOUT_S = 120.0
"""Seconds to wait for any worker at all."""


class ClusterError(InterpdiscError):
    """A cluster that has no workers any more."""


class DaskShardPool(RemoteShardPool):
    """Shards on the workers of a Dask cluster, one for each worker.

    Args:
        client: A client of the cluster's scheduler.
        open_rows: Opens all rows, on whatever worker; it is pickled.
    """

    def __init__(self, client: Any, open_rows: Callable[[], Rows]) -> None:
        super().__init__(open_rows, max(1, len(list_workers(client))))
        self.client = client
        self.shard_workers: list[str] = []

    def build_shards(self, shard_specs: list[ShardSpec], scatter: bool) -> Iterator[Moments]:
        """See `ShardPool`."""
        workers = self._wait_for_workers()
        self.shard_workers = [workers[number % len(workers)] for number in range(len(shard_specs))]
        return super().build_shards(shard_specs, scatter)

    def send(self, number: int, request: ShardRequest) -> Any:
        """See `RemoteShardPool.send`."""
        # Pinned, since the shard is there; never the same task twice, since it has a state.
        return self.client.submit(handle_request, request, workers=[self.shard_workers[number]], pure=False)

    def receive(self, number: int, request: ShardRequest, sent: Any) -> ShardResponse | StateLost:
        """See `RemoteShardPool.receive`. If the worker has died, another one gets the request.

        Raises:
            ClusterError: If there are no workers any more.
        """
        from distributed import CancelledError, KilledWorker

        while True:
            try:
                response: ShardResponse | StateLost = sent.result(timeout=_LIVENESS_CHECK_S)
                return response
            except (TimeoutError, CancelledError, KilledWorker):
                if self.shard_workers[number] in list_workers(self.client) and sent.status not in (
                    "cancelled",
                    "error",
                    "lost",
                ):
                    continue
            sent.cancel(force=True)
            workers = self._wait_for_workers()
            self.shard_workers[number], self.directions_sent[number] = workers[number % len(workers)], 0
            sent = self.send(number, request)

    def close(self) -> None:
        """Let the workers drop the shards."""
        live_workers = set(list_workers(self.client))
        for request, worker in zip(self.requests, self.shard_workers, strict=False):
            if worker in live_workers:
                release = self.client.submit(release_shard, request.token, workers=[worker], pure=False)
                release.result(timeout=_WORKER_TIMEOUT_S)

    def _wait_for_workers(self) -> list[str]:
        deadline = time.monotonic() + _WORKER_TIMEOUT_S
        while not (workers := list_workers(self.client)):
            if time.monotonic() > deadline:
                raise ClusterError("the cluster has no workers any more; start some and run the same command again.")
            time.sleep(0.5)
        return workers


@contextmanager
def connect_shard_pools(address: str) -> Iterator[Callable[[Callable[[], Rows]], DaskShardPool]]:
    """A function that makes shard pools on the workers of a running scheduler; they drop their shards at the end.

    Raises:
        PlanError: If no scheduler answers at `address`.
    """
    pools: list[DaskShardPool] = []
    with connect_scheduler(address) as client:

        def make_pool(open_rows: Callable[[], Rows]) -> DaskShardPool:
            pools.append(DaskShardPool(client, open_rows))
            return pools[-1]

        yield make_pool
        for pool in pools:
            pool.close()
