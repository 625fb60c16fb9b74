"""A shard in another process, driven by messages that suffice to rebuild it.

A `ShardRequest` says where the rows are, which part of them is meant, and which were taken. The process that handles it
keeps the shard between requests; one that does not have it (a worker that replaces a dead one) builds it from the rows.
If earlier messages are missing too, it answers `StateLost`, and the sender repeats them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from interpdisc_core._types import FloatArray
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.selectors.decision import Subspace
from interpdisc_core.selectors.exact.moments import Moments
from interpdisc_core.selectors.exact.shard import RowShard
from interpdisc_core.selectors.exact.shard_messages import ScoreQuery, ShardCandidates, ShardCounters
from interpdisc_core.selectors.exact.shard_pool import ShardSpec, copy_group, groups_of_shard
from interpdisc_core.selectors.rows import ReadStats, Rows, ZeroFilledRows


@dataclass(frozen=True, eq=False)
class ModelMessage:
    """A model as it is sent: with a basis, only the basis directions that the receiver does not have yet.

    Attributes:
        mean: (d,).
        in_basis: Mean (t,) and axes (q, t) in the coordinates of the basis; None without a basis.
        new_directions: Basis directions not sent before (m, d).
        directions_sent: How many were sent before.
        axes: (q, d), if there is no basis.
    """

    mean: FloatArray
    in_basis: tuple[FloatArray, FloatArray] | None
    new_directions: FloatArray
    directions_sent: int
    axes: FloatArray | None


@dataclass(frozen=True, eq=False)
class ShardRequest:
    """One of three requests: build the shard (`scatter`), begin a query (`query`, `model`), finish it (`score_floor`).

    Attributes:
        token: Names the shard.
        open_rows: Opens all rows, in whatever process.
        spec: Of the shard.
        taken_rows: Rows taken so far, by index among all rows, in order.
        scatter: Whether to sum the scatter while copying the rows.
        query: Its model is sent as `model`.
        model: See `query`.
        score_floor: See `RowShard.finish_query`.
    """

    token: str
    open_rows: Callable[[], Rows]
    spec: ShardSpec
    taken_rows: tuple[int, ...]
    scatter: bool | None = None
    query: ScoreQuery | None = None
    model: ModelMessage | None = None
    score_floor: float | None = None


@dataclass(frozen=True)
class StateLost:
    """The answer if earlier messages are missing: begin the query again, with the whole basis."""


@dataclass(frozen=True, eq=False)
class ShardResponse:
    """The answer to a `ShardRequest`.

    Attributes:
        counters: Of the shard, so far.
        read_stats: Of its rows, so far.
        moments: Of each group of rows, after building.
        max_radius: See `RowShard.max_radius`, after building.
        lower_bound: See `RowShard.begin_query`, after it.
        candidates: See `RowShard.finish_query`, after it.
    """

    counters: ShardCounters
    read_stats: ReadStats
    moments: tuple[Moments, ...] = ()
    max_radius: float = 0.0
    lower_bound: float = -np.inf
    candidates: ShardCandidates | None = None


class _HostedShard:
    def __init__(self, request: ShardRequest) -> None:
        rows = request.open_rows()
        self.rows: Rows = ZeroFilledRows(rows) if request.spec.missing == "zero" else rows
        self.shard: RowShard = request.spec.allocate(self.rows)
        self.basis = np.empty((0, rows.shape[1]))
        self.rows_dropped, self.query_number = 0, -1
        scatter = bool(request.scatter)
        self.moments = tuple(
            copy_group(self.rows, request.spec, self.shard, group, scatter)
            for group in groups_of_shard(request.spec, rows.shape[0])
        )

    def build_response(self, **fields: object) -> ShardResponse:
        return replace(ShardResponse(self.shard.counters, self.rows.read_stats), **fields)  # type: ignore[arg-type]


_HOSTED_SHARDS: dict[str, _HostedShard] = {}
_MAX_SHARDS = 8
"""Shards that a process keeps; the ones used longest ago are dropped."""


@single_blas_thread
def handle_request(request: ShardRequest) -> ShardResponse | StateLost:
    """Carry out a request. Raises what reading the rows raises, and PlanError as `ShardSpec.check_values` does."""
    hosted = _HOSTED_SHARDS.pop(request.token, None)
    if hosted is None:
        hosted = _HostedShard(request)
    _HOSTED_SHARDS[request.token] = hosted
    while len(_HOSTED_SHARDS) > _MAX_SHARDS:
        _HOSTED_SHARDS.pop(next(iter(_HOSTED_SHARDS)))
    shard = hosted.shard
    for row in request.taken_rows[hosted.rows_dropped :]:
        if shard.start <= row < shard.stop:
            shard.drop_row(row)
    hosted.rows_dropped = len(request.taken_rows)
    if request.scatter is not None:
        # Kept until the next request: if the answer is lost on its way, it is asked for again.
        return hosted.build_response(moments=hosted.moments, max_radius=shard.max_radius)
    hosted.moments = ()
    if request.score_floor is not None:
        if request.query is None or hosted.query_number != request.query.number:
            return StateLost()
        return hosted.build_response(candidates=shard.finish_query(request.score_floor))
    assert request.query is not None and request.model is not None  # noqa: PT018 - one message
    model = request.model
    if model.directions_sent > len(hosted.basis):
        return StateLost()
    if model.in_basis is not None:
        hosted.basis = np.vstack([hosted.basis[: model.directions_sent], model.new_directions])
        axes = model.in_basis[1] @ hosted.basis[: model.in_basis[1].shape[1]]
    else:
        axes = model.axes if model.axes is not None else np.empty((0, len(model.mean)))
    hosted.query_number = request.query.number
    lower_bound = shard.begin_query(replace(request.query, model=Subspace(model.mean, axes, model.in_basis)))
    return hosted.build_response(lower_bound=lower_bound)


def release_shard(token: str) -> None:
    """Drop a shard, if it is here."""
    _HOSTED_SHARDS.pop(token, None)
