"""The shards of a selection on the workers of a Dask cluster.

A pick sends each worker one new direction of the basis, the mean and the model's coordinates, and gets a few numbers
back; the model and the decision stay here. A worker that dies is replaced: another builds its shard from the store.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from interpdisc_core.errors import InterpdiscError, PlanError
from interpdisc_core.selectors.choice import Subspace
from interpdisc_core.selectors.crew import Site
from interpdisc_core.selectors.host import Again, Answer, Model, Order, answer, forget
from interpdisc_core.selectors.leading import Moments
from interpdisc_core.selectors.rows import Reads, Rows
from interpdisc_core.selectors.shard import Counts, Found, Look

_LOOK_AFTER = 2.0
"""Seconds without an answer after which it is asked whether the worker is still there."""
_PATIENCE = 120.0
"""Seconds to wait for any worker at all."""


class ClusterError(InterpdiscError):
    """A cluster that has no workers any more."""


class DaskCrew:
    """See `interpdisc_core.selectors.crew.Crew`. opened: makes the rows, on whatever worker; it is pickled."""

    def __init__(self, client: Any, opened: Callable[[], Rows]) -> None:
        self.client, self.opened = client, opened
        self.number = max(1, len(self._workers()))
        self.name = uuid.uuid4().hex[:12]
        self.orders: list[Order] = []
        self.at: list[str] = []
        self.sent: list[int] = []
        self.taken: list[int] = []
        self.seconds = {"asking": 0.0}
        self._look: Look | None = None
        self._told: dict[int, Answer] = {}
        self._reach = 0.0

    def _workers(self) -> list[str]:
        return sorted(self.client.scheduler_info(n_workers=-1)["workers"])

    def build(self, sites: list[Site], scatter: bool) -> Iterator[Moments]:
        """See `Crew`."""
        workers = self._someone()
        self.orders = [
            Order(f"{self.name}-{number}", self.opened, site, ()) for number, site in enumerate(sites)
        ]  # fmt: skip
        self.at = [workers[number % len(workers)] for number in range(len(sites))]
        self.sent = [0] * len(sites)
        for made in self._ask([replace(order, scatter=scatter) for order in self.orders]):
            self._reach = max(self._reach, made.reach)
            yield from made.moments

    def reach(self) -> float:
        """See `Crew`."""
        return self._reach

    def begin(self, look: Look) -> float:
        """See `Crew`."""
        self._look = look
        return max((made.low for made in self._ask(self._beginnings(look))), default=-np.inf)

    def finish(self, floor: float) -> list[Found]:
        """See `Crew`."""
        assert self._look is not None
        bare = replace(self._look, model=_nothing(self._look.model), forms={}, basis=None)
        made = self._ask([replace(order, look=bare, floor=floor) for order in self.orders])
        return [one.found for one in made if one.found is not None]

    def drop(self, row: int) -> None:
        """See `Crew`."""
        self.taken.append(row)

    def counts(self) -> Counts:
        """See `Crew`. Of the shards that there are; what one did before it was lost is not counted."""
        return sum((told.counts for told in self._told.values()), Counts())

    def reads(self) -> Reads:
        """See `Crew`."""
        return sum((told.reads for told in self._told.values()), Reads())

    def close(self) -> None:
        """Let the workers forget the shards."""
        there = set(self._workers())
        for order, worker in zip(self.orders, self.at, strict=True):
            if worker in there:
                self.client.submit(forget, order.token, workers=[worker], pure=False).result(timeout=_PATIENCE)

    def _beginnings(self, look: Look, whole: bool = False) -> list[Order]:
        orders = []
        for number, order in enumerate(self.orders):
            have = 0 if whole else self.sent[number]
            if look.model.within is None or look.basis is None:
                model = Model(look.model.mean, None, np.empty((0, 0)), 0, look.model.axes)
            else:
                model = Model(look.model.mean, look.model.within, look.basis[have:], have, None)
                self.sent[number] = len(look.basis)
            orders.append(replace(order, look=replace(look, model=_nothing(look.model), basis=None), model=model))
        return orders

    def _ask(self, orders: list[Order]) -> list[Answer]:
        began = time.perf_counter()
        orders = [replace(order, taken=tuple(self.taken)) for order in orders]
        futures = [self._send(number, order) for number, order in enumerate(orders)]
        made = [
            self._answer(number, order, future)
            for number, (order, future) in enumerate(zip(orders, futures, strict=True))
        ]
        self._told.update(enumerate(made))
        self.seconds["asking"] += time.perf_counter() - began
        return made

    def _send(self, number: int, order: Order) -> Any:
        # Pinned, since the shard is there; never twice the same task, since it has a state.
        return self.client.submit(answer, order, workers=[self.at[number]], pure=False)

    def _answer(self, number: int, order: Order, future: Any) -> Answer:
        from distributed import CancelledError, KilledWorker

        while True:
            try:
                made = future.result(timeout=_LOOK_AFTER)
            except (TimeoutError, CancelledError, KilledWorker):
                if self.at[number] in self._workers() and future.status not in ("error", "cancelled", "lost"):
                    continue
                future.cancel(force=True)
                workers = self._someone()
                self.at[number], self.sent[number] = workers[number % len(workers)], 0
                future = self._send(number, order)
                continue
            if not isinstance(made, Again):
                return made
            assert self._look is not None
            again = replace(self._beginnings(self._look, whole=True)[number], taken=order.taken)
            begun = self._answer(number, again, self._send(number, again))
            if order.floor is None:
                return begun
            future = self._send(number, order)

    def _someone(self) -> list[str]:
        deadline = time.monotonic() + _PATIENCE
        while not (workers := self._workers()):
            if time.monotonic() > deadline:
                raise ClusterError("the cluster has no workers any more; start some and give the same command again.")
            time.sleep(0.5)
        return workers


@contextmanager
def on_cluster(address: str) -> Iterator[Callable[[Callable[[], Rows]], DaskCrew]]:
    """What makes crews on the workers of a running scheduler; they let go of their shards at the end.

    Raises PlanError where none answers at `address`.
    """
    from distributed import Client

    crews: list[DaskCrew] = []
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise PlanError(f"no Dask scheduler answers at {address}: {error}") from error

    def crew(opened: Callable[[], Rows]) -> DaskCrew:
        crews.append(DaskCrew(client, opened))
        return crews[-1]

    with client:
        yield crew
        for made in crews:
            made.close()


def _nothing(model: Subspace) -> Subspace:
    """A model that weighs nothing on its way."""
    return Subspace(model.mean[:0], model.axes[:0, :0])
