"""The search for the best free row under a model, over shards of quantized copies."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from interpdisc_core._types import AnyArray, FloatArray, IndexArray
from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.compute import ComputeOptions
from interpdisc_core.selectors.decision import TIE_RTOL, Choice, ScoreFunction, Subspace, select_best
from interpdisc_core.selectors.exact.bound_form import build_bound_form
from interpdisc_core.selectors.exact.moments import Moments, needs_scatter, split_groups, sum_moments
from interpdisc_core.selectors.exact.shard_messages import ScoreQuery
from interpdisc_core.selectors.exact.shard_pool import LocalShardPool, MissingPolicy, ShardPool, ShardSpec
from interpdisc_core.selectors.rows import (
    BLOCK_ROWS,
    MIN_MAGNITUDE,
    Rows,
    ZeroFilledRows,
    describe_tiny_rows,
    gather_float64,
    iter_blocks,
)

_READ_ROWS = 256
"""Candidates read and cached at a time; far fewer are the rule."""


class CandidateSearch:
    """All rows of a selection: which are free, and which is best. Reads nothing before a pick is asked for."""

    def __init__(
        self,
        rows: Rows,
        rank: int,
        score_function: ScoreFunction,
        missing: MissingPolicy,
        compute_options: ComputeOptions,
    ) -> None:
        self.rows: Rows = ZeroFilledRows(rows) if missing == "zero" else rows
        self.score_function, self.missing = score_function, missing
        self.compute_options, self._rank = compute_options, rank
        self.is_free = np.ones(rows.shape[0], dtype=bool)
        self.free_count = rows.shape[0]
        self.shard_pool: ShardPool = compute_options.shard_pool or LocalShardPool(self.rows, compute_options.threads)
        self._candidate_values: dict[int, FloatArray] = {}
        self._models: dict[int, Subspace] = {}
        self._live_epochs: set[int] = set()
        self.passes = 0
        self._model_number, self._near_ties = 0, 0
        self._center: FloatArray | None = None
        self._moments: Moments | None = None
        self._seconds = {"prepare": 0.0, "model": 0.0, "screen": 0.0, "decide": 0.0}

    @property
    def center(self) -> FloatArray:
        """A point amid the rows (d,), the origin of their copies: the mean of the first block, exact in float32.

        If values may be missing, it is the mean of each feature over the rows that have it, 0 if none has.
        """
        if self._center is None:
            if self.missing == "ignore":
                self._center = self._mean_of_present_values()
                return self._center
            block = gather_float64(self.rows, np.arange(min(BLOCK_ROWS, self.rows.shape[0])))
            self._build_spec(0, 0, np.empty(0)).check_values(slice(0, len(block)), block)
            mean = block.mean(axis=0) if len(block) else np.zeros(block.shape[1])
            with np.errstate(over="ignore", under="ignore"):
                rounded = mean.astype(np.float32).astype(np.float64)
            # Only rows in float64 can be beyond the range of float32; these are quantized in float64.
            is_near = np.abs(rounded - mean).max(initial=0.0) <= 2.0**-20 * np.abs(mean).max(initial=0.0)
            self._center = rounded if is_near else mean
        return self._center

    def _mean_of_present_values(self) -> FloatArray:
        total, count = np.zeros(self.rows.shape[1]), np.zeros(self.rows.shape[1])
        self.passes += 1
        for _, values in iter_blocks(self.rows):
            is_present = ~np.isnan(values)
            total += np.where(is_present, values, 0).astype(np.float64).sum(axis=0)
            count += is_present.sum(axis=0)
        return total / np.maximum(count, 1)

    def _build_spec(self, start: int, stop: int, center: FloatArray) -> ShardSpec:
        count, dimension = self.rows.shape
        compute_options = self.compute_options
        in_file = count * dimension * compute_options.copy_bits // 8 > compute_options.max_copy_bytes
        return ShardSpec(
            start,
            stop,
            center,
            self._rank,
            self.score_function,
            compute_options.copy_bits,
            in_file,
            self.missing,
            compute_options.device,
        )

    def sum_moments(self, scatter: bool) -> Moments:
        """The moments of all rows about the center, with their scatter if asked for and needed; takes one pass."""
        scatter = scatter and needs_scatter(self.rows)
        self._build_shards(scatter)
        assert self._moments is not None
        if scatter and not self._moments.scatter.size:  # the pass that made the copies did not sum it
            self.passes += 1
            self._set_moments(
                sum_moments(self.rows, *part, self.center, True) for part in split_groups(self.rows.shape[0])
            )
        return self._moments

    def compute_mean(self) -> FloatArray:
        """The mean (d,) of all rows, of each feature over the rows that have it."""
        if self.missing == "ignore":
            return self.center
        return self.center + self.sum_moments(False).sum / max(self.rows.shape[0], 1)

    def _build_shards(self, scatter: bool) -> None:
        """Quantize all rows, in one pass that also sums their moments."""
        if self._moments is not None:
            return
        start_time = time.perf_counter()
        row_groups = split_groups(self.rows.shape[0])
        shard_count = max(1, min(self.shard_pool.shard_count, len(row_groups)))
        group_ranges = [
            group_range for group_range in np.array_split(np.arange(len(row_groups)), shard_count) if len(group_range)
        ]
        shard_specs = [
            self._build_spec(row_groups[group_range[0]][0], row_groups[group_range[-1]][1], self.center)
            for group_range in group_ranges
        ]
        self.passes += 1
        self._set_moments(self.shard_pool.build_shards(shard_specs, scatter))
        for row in np.flatnonzero(~self.is_free):
            self.shard_pool.drop_row(int(row))
        self._max_radius = self.shard_pool.get_max_radius()
        if 0 < self._max_radius < MIN_MAGNITUDE:
            raise PlanError(describe_tiny_rows(self.rows, self.center))
        self._seconds["prepare"] += time.perf_counter() - start_time

    def _set_moments(self, group_moments: Iterable[Moments]) -> None:
        # In order, wherever they were computed: the sum has the same bits.
        total: Moments | None = None
        for moments_of_group in group_moments:
            total = moments_of_group if total is None else total + moments_of_group
        self._moments = total or Moments(0, np.zeros(self.rows.shape[1]), np.empty((0, 0)))

    def drop_row(self, row: int) -> None:
        """Mark a row as taken. Raises ValueError if it was taken before."""
        if not self.is_free[row]:
            raise ValueError(f"row {row} was already taken")
        self.is_free[row] = False
        self.free_count -= 1
        if self._moments is not None:
            self.shard_pool.drop_row(row)

    def read_row(self, row: int) -> FloatArray:
        """x (d,) of a row; candidates of the last pick are not read again."""
        cached = self._candidate_values.get(row)
        return gather_float64(self.rows, np.array([row]))[0] if cached is None else cached

    def find_free_row(self, row: int) -> int:
        """The first free row at or after `row`, or else the first of all."""
        free = np.flatnonzero(self.is_free)
        later = free[free >= row]
        return int(later[0] if len(later) else free[0])

    def find_best(self, model: Subspace, axis_error: float = 0.0, basis: FloatArray | None = None) -> Choice | None:
        """The free row of highest score under a model.

        Args:
            model: Of the items seen.
            axis_error: See `select_best`.
            basis: Directions (t, d) in which the model's coordinates are given.
        """
        self._build_shards(False)
        start_time = time.perf_counter()
        scale = self.compute_scale(model)
        tie_width = TIE_RTOL * scale + axis_error * (4 + 2 * axis_error) * scale
        model_number = self._number_model(model)
        forms = {epoch: build_bound_form(self._models[epoch], model) for epoch in self._live_epochs}
        responses = self.shard_pool.finish_query(
            self.shard_pool.begin_query(ScoreQuery(model_number, model, forms, tie_width, basis))
        )
        score_floor = max((response.lower_bound for response in responses), default=-np.inf)
        candidates = [
            row
            for response in responses
            for row, upper_bound in zip(response.rows, response.upper_bounds, strict=True)
            if upper_bound >= score_floor - tie_width
        ]
        self._live_epochs = set().union(*(response.epochs for response in responses))
        self._models = {
            key: old_model for key, old_model in self._models.items() if key in self._live_epochs or key == model_number
        }
        decide_time = time.perf_counter()
        values = _CandidateRows(self.rows, candidates)
        choice = select_best(values, model, scale, self.score_function, axis_error)
        self._candidate_values = values.cache
        self._seconds["screen"] += decide_time - start_time
        self._seconds["decide"] += time.perf_counter() - decide_time
        self._near_ties += choice.near_ties if choice else 0
        return choice

    def compute_scale(self, model: Subspace) -> float:
        """What tolerances are relative to; see `TIE_RTOL`."""
        self._build_shards(False)
        return (self._max_radius + float(np.linalg.norm(model.mean - self.center))) ** 2

    def _number_model(self, model: Subspace) -> int:
        """The number of a model: a new one, unless the model is the last one."""
        if self._models.get(self._model_number) is not model:
            self._model_number += 1
            self._models[self._model_number] = model
        return self._model_number

    def find_nearest_row(self, row: int) -> int:
        """The free row nearest to `row`, the lowest index among equally near ones; missing values count as the center's."""
        self._build_shards(False)
        x = np.where(np.isnan(target := gather_float64(self.rows, np.array([row]))[0]), self.center, target)
        best: tuple[float, int] = (np.inf, -1)
        self.passes += 1
        for indices, values in self._iter_free_blocks():
            z = np.where(np.isnan(values), self.center, values).astype(np.float64) - x
            distance = np.einsum("nd,nd->n", z, z)
            position = int(distance.argmin())
            best = min(best, (float(distance[position]), int(indices[position])))
        return best[1]

    def _iter_free_blocks(self) -> Iterator[tuple[IndexArray, AnyArray]]:
        free = np.flatnonzero(self.is_free)
        for start in range(0, len(free), BLOCK_ROWS):
            yield free[start : start + BLOCK_ROWS], self.rows.get(free[start : start + BLOCK_ROWS])

    def counters(self) -> dict[str, Any]:
        """What the selection cost.

        rows_read, bytes_read, chunks_read: reads from the store, whole chunks counted; passes: over all rows;
        rows_screened: rows scored by their copies; bounds: bounds evaluated; refreshed: times that a shard scored all its
        rows; near_ties: of all picks; copy_bytes: size of the copies; seconds: by phase.
        """
        reads, counts = self.rows.read_stats + self.shard_pool.sum_read_stats(), self.shard_pool.sum_counters()
        return {
            "rows_read": reads.rows,
            "bytes_read": reads.bytes,
            "chunks_read": reads.chunks,
            "passes": self.passes,
            "rows_screened": counts.rows_screened,
            "bounds": counts.bounds_evaluated,
            "refreshed": counts.refreshed,
            "near_ties": self._near_ties,
            "copy_bytes": counts.copy_bytes,
            "seconds": {phase: round(seconds, 4) for phase, seconds in self._seconds.items()},
        }


class _CandidateRows(Mapping[int, FloatArray]):
    """x (d,) of candidates by row, read a few at a time; the last few are cached.

    They may be all rows, if it is open what the model is.
    """

    def __init__(self, rows: Rows, numbers: list[int]) -> None:
        self.rows, self.numbers, self.cache = rows, numbers, dict[int, FloatArray]()
        self._positions = {row: position for position, row in enumerate(numbers)}

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __getitem__(self, row: int) -> FloatArray:
        if row not in self.cache:
            group = self.numbers[self._positions[row] : self._positions[row] + _READ_ROWS]
            self.cache = dict(zip(group, gather_float64(self.rows, np.array(group)), strict=True))
        return self.cache[row]
