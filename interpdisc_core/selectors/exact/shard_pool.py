"""Pools that hold the shards of a selection: `LocalShardPool` in one process; `deploy` has one for a cluster.

Messages are few and small: a model goes out, bounds and candidates come back. A pool is responsible for its shards: one
that is lost is rebuilt from the rows, and no pick depends on when that happens.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from interpdisc_core._types import AnyArray, FloatArray
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.decision import ScoreFunction
from interpdisc_core.selectors.exact.moments import Moments, split_groups, sum_moments
from interpdisc_core.selectors.exact.quantized_rows import CopyBits
from interpdisc_core.selectors.exact.shard import RowShard
from interpdisc_core.selectors.exact.shard_messages import ScoreQuery, ShardCandidates, ShardCounters
from interpdisc_core.selectors.rows import ReadStats, Rows, find_value_fault

MissingPolicy = Literal["refuse", "zero", "ignore"]


@dataclass(frozen=True, eq=False)
class ShardSpec:
    """How to build a shard.

    Attributes:
        start: First row.
        stop: Row after the last.
        center: Origin of the copies (d,).
        rank: Expected rank of the models; more is possible.
        score_function: Residuals to scores.
        copy_bits: See `ComputeOptions`.
        in_file: Whether the copies are kept in a temporary file.
        missing: Meaning of missing values, see `Demud`.
        device: See `ComputeOptions`; a device of the process that holds the shard.
    """

    start: int
    stop: int
    center: FloatArray
    rank: int
    score_function: ScoreFunction
    copy_bits: CopyBits
    in_file: bool
    missing: MissingPolicy
    device: str = "cpu"

    def allocate(self, rows: Rows) -> RowShard:
        """The shard, its rows not copied yet. Raises PlanError if the device is not available."""
        return RowShard(
            rows,
            self.start,
            self.stop,
            self.center,
            self.rank,
            self.score_function,
            self.copy_bits,
            self.in_file,
            self.device,
        )

    def check_values(self, block_slice: slice, values: AnyArray) -> None:
        """Raises PlanError if a value cannot be used; NaN can if values may be missing."""
        if fault := find_value_fault(values, may_be_missing=self.missing == "ignore"):
            missing_advice = "" if fault.is_finite else ", or say what missing values mean (missing: zero or ignore)"
            raise PlanError(f"row {block_slice.start + fault.row} {fault.text}{missing_advice}.")


class ShardPool(Protocol):
    """Holds the shards that cover all rows. shard_count: how many to build."""

    shard_count: int

    def build_shards(self, shard_specs: list[ShardSpec], scatter: bool) -> Iterator[Moments]:
        """Copy all rows; yields the moments of each of `split_groups` in order. Raises as `ShardSpec.check_values` does."""

    def get_max_radius(self) -> float:
        """The largest |x − c| of all rows, see `RowShard.max_radius`."""

    def begin_query(self, query: ScoreQuery) -> float:
        """See `RowShard.begin_query`: the highest over all shards."""

    def finish_query(self, score_floor: float) -> list[ShardCandidates]:
        """See `RowShard.finish_query`: of each shard."""

    def drop_row(self, row: int) -> None:
        """Mark a row as taken."""

    def sum_counters(self) -> ShardCounters:
        """Counters over all shards."""

    def sum_read_stats(self) -> ReadStats:
        """Reads by other processes."""


def groups_of_shard(spec: ShardSpec, count: int) -> list[tuple[int, int]]:
    """The `split_groups` of `count` rows that lie in a shard; groups never cross the border of a shard."""
    return [part for part in split_groups(count) if spec.start <= part[0] < spec.stop]


def copy_group(rows: Rows, spec: ShardSpec, shard: RowShard, group: tuple[int, int], scatter: bool) -> Moments:
    """Copy a group of rows into its shard and return its moments. Raises PlanError as `ShardSpec.check_values` does."""

    def copy_block(block_slice: slice, values: AnyArray) -> None:
        spec.check_values(block_slice, values)
        shard.copy_rows(block_slice, values)

    return sum_moments(rows, group[0], group[1], spec.center, scatter, copy_block)


class LocalShardPool:
    """Shards in this process, each served by a thread."""

    def __init__(self, rows: Rows, threads: int) -> None:
        self.rows, self.shard_count, self.shards = rows, threads, list[RowShard]()
        self._executor = ThreadPoolExecutor(threads) if threads > 1 else None

    def _map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        # Each thread of the pool enters the limit itself: some BLAS libraries keep the limit per calling thread.
        return list(self._executor.map(single_blas_thread(function), items) if self._executor else map(function, items))

    def build_shards(self, shard_specs: list[ShardSpec], scatter: bool) -> Iterator[Moments]:
        """See `ShardPool`."""
        self.shards = [spec.allocate(self.rows) for spec in shard_specs]
        count = self.rows.shape[0]
        jobs = [
            (self.rows, spec, shard, group, scatter)
            for spec, shard in zip(shard_specs, self.shards, strict=True)
            for group in groups_of_shard(spec, count)
        ]
        for first in range(0, len(jobs), self.shard_count):  # few at a time: moments may be (d, d) matrices
            yield from self._map(lambda job: copy_group(*job), jobs[first : first + self.shard_count])

    def get_max_radius(self) -> float:
        """See `ShardPool`."""
        return max((shard.max_radius for shard in self.shards), default=0.0)

    def begin_query(self, query: ScoreQuery) -> float:
        """See `ShardPool`."""
        return max(self._map(lambda shard: shard.begin_query(query), self.shards), default=-np.inf)

    def finish_query(self, score_floor: float) -> list[ShardCandidates]:
        """See `ShardPool`."""
        return self._map(lambda shard: shard.finish_query(score_floor), self.shards)

    def drop_row(self, row: int) -> None:
        """See `ShardPool`."""
        for shard in self.shards:
            if shard.start <= row < shard.stop:
                shard.drop_row(row)

    def sum_counters(self) -> ShardCounters:
        """See `ShardPool`."""
        return sum((shard.counters for shard in self.shards), ShardCounters())

    def sum_read_stats(self) -> ReadStats:
        """See `ShardPool`: none, since the rows themselves count what this process reads."""
        return ReadStats()
