"""A shard that lives in another process, asked by messages that are enough to build it again.

An `Order` says where the rows are, which part of them is meant, and which were taken. The process that gets it keeps the
shard between orders; one that does not have it (a worker that took over from one that died) makes it from the rows.
Where it also lacks what went before, it answers `Again` and is told all.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from threadpoolctl import ThreadpoolController

from interpdisc_core.selectors.choice import Floats, Subspace
from interpdisc_core.selectors.crew import Site, copied, parts
from interpdisc_core.selectors.leading import Moments
from interpdisc_core.selectors.rows import FilledRows, Reads, Rows
from interpdisc_core.selectors.shard import Counts, Found, Look, Shard


@dataclass(frozen=True, eq=False)
class Model:
    """A model on its way: mean (d,), and axes by coordinates in a basis of which only what is `fresh` (m, d) is sent.

    coordinates (q, t); have: how many of the basis' directions were sent before. axes (q, d) where there is no basis.
    """

    mean: Floats
    within: tuple[Floats, Floats] | None
    fresh: Floats
    have: int
    axes: Floats | None


@dataclass(frozen=True, eq=False)
class Order:
    """token: names the shard. opened: makes the rows. taken: rows of the whole, in order.

    scatter: to copy the rows, with or without their scatter. look, model: to begin on a pick. floor: to finish it.
    """

    token: str
    opened: Callable[[], Rows]
    site: Site
    taken: tuple[int, ...]
    scatter: bool | None = None
    look: Look | None = None
    model: Model | None = None
    floor: float | None = None


@dataclass(frozen=True)
class Again:
    """The shard is new here: begin again, with the whole basis."""


@dataclass(frozen=True, eq=False)
class Answer:
    """moments, reach: of a copy made. low: of a beginning. found: of an end. counts, reads: so far."""

    counts: Counts
    reads: Reads
    moments: tuple[Moments, ...] = ()
    reach: float = 0.0
    low: float = -np.inf
    found: Found | None = None


class _Hosted:
    def __init__(self, order: Order) -> None:
        rows = order.opened()
        self.rows: Rows = FilledRows(rows) if order.site.missing == "zero" else rows
        self.shard: Shard = order.site.room(self.rows)
        self.basis = np.empty((0, rows.shape[1]))
        self.dropped, self.begun = 0, -1
        scatter = bool(order.scatter)
        self.moments = tuple(
            copied(self.rows, order.site, self.shard, part, scatter) for part in parts(order.site, rows.shape[0])
        )

    def answer(self, **told: object) -> Answer:
        return replace(Answer(self.shard.counts, self.rows.reads), **told)  # type: ignore[arg-type]


_HOSTED: dict[str, _Hosted] = {}
_MOST = 8
"""Shards that a process keeps; those of selections long gone make room."""


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """The process's BLAS; to look for it takes longer than many an order."""
    return ThreadpoolController()


def answer(order: Order) -> Answer | Again:
    """Do what an order says. Raises what reading the rows raises, and PlanError as `Site.check` does."""
    with _libraries().limit(limits=1, user_api="blas"):
        return _answer(order)


def _answer(order: Order) -> Answer | Again:
    hosted = _HOSTED.pop(order.token, None)
    if hosted is None:
        hosted = _Hosted(order)
    _HOSTED[order.token] = hosted
    while len(_HOSTED) > _MOST:
        _HOSTED.pop(next(iter(_HOSTED)))
    shard = hosted.shard
    for row in order.taken[hosted.dropped :]:
        if shard.start <= row < shard.stop:
            shard.drop(row)
    hosted.dropped = len(order.taken)
    if order.scatter is not None:
        # Kept until the next order: an answer that is lost on its way is asked for again.
        return hosted.answer(moments=hosted.moments, reach=shard.reach)
    hosted.moments = ()
    if order.floor is not None:
        if order.look is None or hosted.begun != order.look.number:
            return Again()
        return hosted.answer(found=shard.finish(order.floor))
    assert order.look is not None and order.model is not None  # noqa: PT018 - one message
    model = order.model
    if model.have > len(hosted.basis):
        return Again()
    if model.within is not None:
        hosted.basis = np.vstack([hosted.basis[: model.have], model.fresh])
        axes = model.within[1] @ hosted.basis[: model.within[1].shape[1]]
    else:
        axes = model.axes if model.axes is not None else np.empty((0, len(model.mean)))
    hosted.begun = order.look.number
    low = shard.begin(replace(order.look, model=Subspace(model.mean, axes, model.within)))
    return hosted.answer(low=low)


def forget(token: str) -> None:
    """Let go of a shard."""
    _HOSTED.pop(token, None)
