"""All rows of a selection, spread over shards: which are free, and which is best under a model."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.choice import TIED, Choice, Features, Floats, Measure, Subspace, decide
from interpdisc_core.selectors.leading import Moments, groups, moments, with_scatter
from interpdisc_core.selectors.rows import BLOCK, Index, Reads, Rows, blocks, take
from interpdisc_core.selectors.shard import Form, Look, Shard, form
from interpdisc_core.selectors.sketch import Bits

Missing = Literal["refuse", "zero", "ignore"]


@dataclass(frozen=True, kw_only=True)
class Means:
    """With what a selection is computed; its picks do not depend on it.

    threads: that look at rows. bits: of the rows' copies, 16 or 8; fewer take less room and more reading. memory:
    bytes of copies that are kept in memory; beyond that they are in a file in the system's folder for such.
    """

    threads: int = 1
    bits: Bits = 16
    memory: int = 3 << 30


class _Filled:
    """Rows in which a missing value is 0."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    @property
    def reads(self) -> Reads:
        return self.rows.reads

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.rows.dtype

    def get(self, rows: Index) -> Features:
        values = self.rows.get(rows)
        return np.where(np.isnan(values), values.dtype.type(0), values) if np.isnan(values).any() else values


class Screen:
    """See the module. Nothing is read before a pick is asked for."""

    def __init__(self, rows: Rows, rank: int, measure: Measure, missing: Missing, means: Means) -> None:
        self.rows: Rows = _Filled(rows) if missing == "zero" else rows  # type: ignore[assignment]
        self.measure, self.missing, self.means, self._rank = measure, missing, means, rank
        self.free = np.ones(rows.shape[0], dtype=bool)
        self.left = rows.shape[0]
        self._shards: list[Shard] = []
        self._values: dict[int, Floats] = {}
        self._models: dict[int, Subspace] = {}
        self._number, self._picks, self._near_ties, self._passes = 0, 0, 0, 0
        self._centre: Floats | None = None
        self._moments: Moments | None = None
        self._scattered = False
        self._ragged = False
        self._seconds = {"prepare": 0.0, "model": 0.0, "screen": 0.0, "decide": 0.0}
        self._pool = ThreadPoolExecutor(means.threads) if means.threads > 1 else None

    @property
    def _map(self) -> Callable[..., Iterable[Any]]:
        return self._pool.map if self._pool else map

    @property
    def centre(self) -> Floats:
        """A point amid the rows (d,), the origin of their copies, exact in float32: the mean of the first block."""
        if self._centre is None:
            some = take(self.rows, np.arange(min(BLOCK, self.rows.shape[0])))
            with np.errstate(over="ignore", invalid="ignore"):
                mean = some.mean(axis=0) if len(some) else np.zeros(some.shape[1])
            if self.missing == "ignore" and np.isnan(mean).any():
                mean = self._observed()
            elif not np.isfinite(mean).all():
                self._refuse(slice(0, len(some)), some)
            exact = mean.astype(np.float32).astype(np.float64)
            self._centre = exact if np.isfinite(exact).all() and not self._ragged else mean
        return self._centre

    def _observed(self) -> Floats:
        """The mean (d,) of each feature over the rows that have it, 0 where none has."""
        self._ragged = True
        total, count = np.zeros(self.rows.shape[1]), np.zeros(self.rows.shape[1])
        self._passes += 1
        for _, values in blocks(self.rows):
            there = ~np.isnan(values)
            total += np.where(there, values, 0).astype(np.float64).sum(axis=0)
            count += there.sum(axis=0)
        return total / np.maximum(count, 1)

    def _refuse(self, at: slice, values: Features) -> None:
        bad = ~np.isfinite(values) if self.missing != "ignore" else np.isinf(values)
        if bad.any():
            row, feature = (int(i) for i in np.argwhere(bad)[0])
            raise PlanError(
                f"row {at.start + row} has no finite value in feature {feature} ({values[row, feature]}): "
                "leave it out, or say what missing values mean (missing: zero or ignore)."
            )

    def moments(self, scatter: bool) -> Moments:
        """The moments of all rows about the centre, with their scatter if asked for and of use; made in one pass."""
        scatter = scatter and with_scatter(self.rows)
        self._prepare(scatter)
        if self._moments is None or (scatter and not self._scattered):
            self._pass(scatter, None)
        assert self._moments is not None
        return self._moments

    def mean(self) -> Floats:
        """The mean (d,) of all rows; of each feature over the rows that have it."""
        self._prepare(False)
        if self._ragged:
            return self.centre
        return self.centre + self.moments(False).sum / max(self.rows.shape[0], 1)

    def _prepare(self, scatter: bool) -> None:
        """Copy all rows, in one pass that also sums their moments."""
        if self._shards:
            return
        began = time.process_time()
        count, dimension = self.rows.shape
        parts = groups(count)
        bytes_ = count * dimension * self.means.bits // 8
        scratch = tempfile.gettempdir() if bytes_ > self.means.memory else None
        centre = self.centre
        shards = []
        for some in np.array_split(np.arange(len(parts)), min(self.means.threads, len(parts)) or 1):
            start, stop = (parts[some[0]][0], parts[some[-1]][1]) if len(some) else (0, 0)
            shards.append(Shard(self.rows, start, stop, centre, self._rank, self.measure, self.means.bits, scratch))

        def copy(at: slice, values: Features) -> None:
            self._refuse(at, values)
            shard = next(shard for shard in shards if shard.start <= at.start < shard.stop)
            shard.put(at, values)

        self._pass(scatter, copy)
        for shard in shards:
            shard.free[:] = self.free[shard.start : shard.stop]
        self._shards = shards
        self._reach = max((shard.reach for shard in shards), default=0.0)
        self._seconds["prepare"] += time.process_time() - began

    def _pass(self, scatter: bool, also: Callable[[slice, Features], None] | None) -> None:
        self._passes += 1
        centre, parts = self.centre, groups(self.rows.shape[0])
        total = Moments(0, np.zeros(len(centre)), np.zeros((len(centre),) * 2 if scatter else (0, 0)))
        for part in self._map(lambda part: moments(self.rows, part[0], part[1], centre, scatter, also), parts):
            total = total + part
        self._moments, self._scattered = total, scatter

    def drop(self, row: int) -> None:
        """A row is taken. Raises ValueError where it was before."""
        if not self.free[row]:
            raise ValueError(f"row {row} was already taken")
        self.free[row] = False
        self.left -= 1
        for shard in self._shards:
            if shard.start <= row < shard.stop:
                shard.drop(row)

    def row(self, row: int) -> Floats:
        """x (d,) of a row; the rivals of the last pick are not read again."""
        kept = self._values.get(row)
        return take(self.rows, np.array([row]))[0] if kept is None else kept

    def free_from(self, row: int) -> int:
        """The first free row from `row` on, and then from the beginning."""
        free = np.flatnonzero(self.free)
        later = free[free >= row]
        return int(later[0] if len(later) else free[0])

    def best(self, model: Subspace, doubt: float = 0.0) -> Choice | None:
        """The free row of largest score under `model`.

        doubt: how far the model's axes may be off, as a sine; rows that this could put first count as near ties.
        """
        self._prepare(False)
        began = time.process_time()
        scale = self._scale(model)
        number = self._same(model)
        tied = TIED * scale + doubt * (4 + 2 * doubt) * scale
        look = Look(number, model, self._forms(model), tied)
        floor = max(self._map(lambda shard: shard.begin(look), self._shards), default=-np.inf)
        found = list(self._map(lambda shard: shard.finish(floor), self._shards))
        low = max((low for _, _, low in found), default=-np.inf)
        rivals = [row for rows, highs, _ in found for row, high in zip(rows, highs, strict=True) if high >= low - tied]
        present = set().union(*(shard.epochs for shard in self._shards))
        self._models = {key: kept for key, kept in self._models.items() if key in present or key == number}
        middle = time.process_time()
        self._values = dict(zip(rivals, take(self.rows, np.array(rivals, dtype=np.intp)), strict=True))
        choice = decide(self._values, model, scale, self.measure, doubt)
        self._seconds["screen"] += middle - began
        self._seconds["decide"] += time.process_time() - middle
        self._picks += 1
        self._near_ties += choice.near_ties if choice else 0
        return choice

    def _scale(self, model: Subspace) -> float:
        return (self._reach + float(np.linalg.norm(model.mean - self.centre))) ** 2

    def _same(self, model: Subspace) -> int:
        """The number of a model; a new one unless it is the last."""
        if self._models.get(self._number) is not model:
            self._number += 1
            self._models[self._number] = model
        return self._number

    def _forms(self, model: Subspace) -> dict[int, Form]:
        present: set[int] = set().union(*(shard.epochs for shard in self._shards))
        return {epoch: form(self._models[epoch], model) for epoch in present}

    def nearest(self, row: int) -> int:
        """The free row nearest to `row`, the lowest of those as near; missing values count as the centre's."""
        self._prepare(False)
        x = np.where(np.isnan(wanted := take(self.rows, np.array([row]))[0]), self.centre, wanted)
        best: tuple[float, int] = (np.inf, -1)
        for at, values in self._free_blocks():
            z = np.where(np.isnan(values), self.centre, values).astype(np.float64) - x
            distance = np.einsum("nd,nd->n", z, z)
            here = int(distance.argmin())
            best = min(best, (float(distance[here]), int(at[here])))
        return best[1]

    def _free_blocks(self) -> Iterator[tuple[Index, Features]]:
        free = np.flatnonzero(self.free)
        for start in range(0, len(free), BLOCK):
            yield free[start : start + BLOCK], self.rows.get(free[start : start + BLOCK])

    def counters(self) -> dict[str, Any]:
        """What the selection cost.

        rows_read, bytes_read, chunks_read: what the store returned, whole chunks counted; passes over all rows;
        rows_screened in their copies; bounds evaluated; near_ties; copy_bytes; CPU seconds by phase.
        """
        reads, shards = self.rows.reads, self._shards
        return {
            "rows_read": reads.rows,
            "bytes_read": reads.bytes,
            "chunks_read": reads.chunks,
            "passes": self._passes,
            "rows_screened": sum(shard.counts.screened for shard in shards),
            "bounds": sum(shard.counts.bounds for shard in shards),
            "refreshed": sum(shard.counts.refreshed for shard in shards),
            "near_ties": self._near_ties,
            "copy_bytes": sum(shard.sketch.whole.nbytes for shard in shards),
            "seconds": {phase: round(seconds, 4) for phase, seconds in self._seconds.items()},
        }
