"""All rows of a selection, spread over shards: which are free, and which is best under a model."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from interpdisc_core.selectors.choice import TIED, Choice, Features, Floats, Measure, Subspace, decide
from interpdisc_core.selectors.crew import Crew, LocalCrew, Missing, Site
from interpdisc_core.selectors.device import find
from interpdisc_core.selectors.leading import Moments, groups, moments, with_scatter
from interpdisc_core.selectors.rows import BLOCK, FilledRows, Index, Rows, blocks, take
from interpdisc_core.selectors.shard import Look, form
from interpdisc_core.selectors.sketch import Bits

_FEW = 256
"""Rivals that are read together and kept; far fewer are the rule."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """With what a selection is computed; its picks do not depend on it.

    threads: that look at rows. bits: of the rows' copies, 16 or 8; fewer take less room and more reading. memory:
    bytes of copies that are kept in memory; beyond that they are in a file in the system's folder for such. crew: who
    holds the copies, where it is not this process; it must be of the same rows. device: that holds the copies and
    multiplies them: `cpu`, or by PyTorch `cuda`, `cuda:1` … (or `torch:cpu`), whose memory must hold them all.
    Raises PlanError for a device that is not here, unless a crew is to have it.
    """

    threads: int = 1
    bits: Bits = 16
    memory: int = 3 << 30
    crew: Crew | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.crew is None:
            find(self.device)


class Screen:
    """See the module. Nothing is read before a pick is asked for."""

    def __init__(self, rows: Rows, rank: int, measure: Measure, missing: Missing, means: Means) -> None:
        self.rows: Rows = FilledRows(rows) if missing == "zero" else rows
        self.measure, self.missing, self.means, self._rank = measure, missing, means, rank
        self.free = np.ones(rows.shape[0], dtype=bool)
        self.left = rows.shape[0]
        self.crew: Crew = means.crew or LocalCrew(self.rows, means.threads)
        self._values: dict[int, Floats] = {}
        self._models: dict[int, Subspace] = {}
        self._present: set[int] = set()
        self.passes = 0  # over all rows
        self._number, self._near_ties = 0, 0
        self._centre: Floats | None = None
        self._moments: Moments | None = None
        self._seconds = {"prepare": 0.0, "model": 0.0, "screen": 0.0, "decide": 0.0}

    @property
    def centre(self) -> Floats:
        """A point amid the rows (d,), the origin of their copies, exact in float32: the mean of the first block.

        Where values may be missing it is the mean of each feature over the rows that have it, 0 where none has.
        """
        if self._centre is None:
            if self.missing == "ignore":
                self._centre = self._observed()
                return self._centre
            some = take(self.rows, np.arange(min(BLOCK, self.rows.shape[0])))
            self._site(0, 0, np.empty(0)).check(slice(0, len(some)), some)
            mean = some.mean(axis=0) if len(some) else np.zeros(some.shape[1])
            with np.errstate(over="ignore", under="ignore"):
                exact = mean.astype(np.float32).astype(np.float64)
            # Beyond the range of float32 only rows in float64 can be; those are copied in float64.
            near = np.abs(exact - mean).max(initial=0.0) <= 2.0**-20 * np.abs(mean).max(initial=0.0)
            self._centre = exact if near else mean
        return self._centre

    def _observed(self) -> Floats:
        total, count = np.zeros(self.rows.shape[1]), np.zeros(self.rows.shape[1])
        self.passes += 1
        for _, values in blocks(self.rows):
            there = ~np.isnan(values)
            total += np.where(there, values, 0).astype(np.float64).sum(axis=0)
            count += there.sum(axis=0)
        return total / np.maximum(count, 1)

    def _site(self, start: int, stop: int, centre: Floats) -> Site:
        count, dimension = self.rows.shape
        means = self.means
        scratch = count * dimension * means.bits // 8 > means.memory
        return Site(start, stop, centre, self._rank, self.measure, means.bits, scratch, self.missing, means.device)

    def moments(self, scatter: bool) -> Moments:
        """The moments of all rows about the centre, with their scatter if asked for and of use; made in one pass."""
        scatter = scatter and with_scatter(self.rows)
        self._prepare(scatter)
        assert self._moments is not None
        if scatter and not self._moments.scatter.size:  # the copies were made without
            self.passes += 1
            self._add(moments(self.rows, *part, self.centre, True) for part in groups(self.rows.shape[0]))
        return self._moments

    def mean(self) -> Floats:
        """The mean (d,) of all rows; of each feature over the rows that have it."""
        if self.missing == "ignore":
            return self.centre
        return self.centre + self.moments(False).sum / max(self.rows.shape[0], 1)

    def _prepare(self, scatter: bool) -> None:
        """Copy all rows, in one pass that also sums their moments."""
        if self._moments is not None:
            return
        began = time.perf_counter()
        every = groups(self.rows.shape[0])
        number = max(1, min(self.crew.number, len(every)))
        spread = [part for part in np.array_split(np.arange(len(every)), number) if len(part)]
        sites = [self._site(every[part[0]][0], every[part[-1]][1], self.centre) for part in spread]
        self.passes += 1
        self._add(self.crew.build(sites, scatter))
        for row in np.flatnonzero(~self.free):
            self.crew.drop(int(row))
        self._reach = self.crew.reach()
        self._seconds["prepare"] += time.perf_counter() - began

    def _add(self, some: Iterable[Moments]) -> None:
        # In order, whoever computed them: the sum is the same to the bit.
        total: Moments | None = None
        for part in some:
            total = part if total is None else total + part
        self._moments = total or Moments(0, np.zeros(self.rows.shape[1]), np.empty((0, 0)))

    def drop(self, row: int) -> None:
        """A row is taken. Raises ValueError where it was before."""
        if not self.free[row]:
            raise ValueError(f"row {row} was already taken")
        self.free[row] = False
        self.left -= 1
        if self._moments is not None:
            self.crew.drop(row)

    def row(self, row: int) -> Floats:
        """x (d,) of a row; the rivals of the last pick are not read again."""
        kept = self._values.get(row)
        return take(self.rows, np.array([row]))[0] if kept is None else kept

    def free_from(self, row: int) -> int:
        """The first free row from `row` on, and then from the beginning."""
        free = np.flatnonzero(self.free)
        later = free[free >= row]
        return int(later[0] if len(later) else free[0])

    def best(self, model: Subspace, doubt: float = 0.0, basis: Floats | None = None) -> Choice | None:
        """The free row of largest score under `model`.

        doubt: how far the model's axes may be off, as a sine; rows that this could put first count as near ties.
        basis (t, d): in which the model's coordinates are.
        """
        self._prepare(False)
        began = time.perf_counter()
        scale = self.scale(model)
        tied = TIED * scale + doubt * (4 + 2 * doubt) * scale
        number = self._numbered(model)
        forms = {epoch: form(self._models[epoch], model) for epoch in self._present}
        found = self.crew.finish(self.crew.begin(Look(number, model, forms, tied, basis)))
        low = max((part.low for part in found), default=-np.inf)
        rivals = [
            row for part in found for row, high in zip(part.rows, part.highs, strict=True) if high >= low - tied
        ]  # fmt: skip
        self._present = set().union(*(part.epochs for part in found))
        self._models = {key: kept for key, kept in self._models.items() if key in self._present or key == number}
        middle = time.perf_counter()
        values = _Values(self.rows, rivals)
        choice = decide(values, model, scale, self.measure, doubt)
        self._values = values.kept
        self._seconds["screen"] += middle - began
        self._seconds["decide"] += time.perf_counter() - middle
        self._near_ties += choice.near_ties if choice else 0
        return choice

    def scale(self, model: Subspace) -> float:
        """What tolerances are parts of, see `choice.TIED`."""
        self._prepare(False)
        return (self._reach + float(np.linalg.norm(model.mean - self.centre))) ** 2

    def _numbered(self, model: Subspace) -> int:
        """The number of a model; a new one unless it is the last."""
        if self._models.get(self._number) is not model:
            self._number += 1
            self._models[self._number] = model
        return self._number

    def nearest(self, row: int) -> int:
        """The free row nearest to `row`, the lowest of those as near; missing values count as the centre's."""
        self._prepare(False)
        x = np.where(np.isnan(wanted := take(self.rows, np.array([row]))[0]), self.centre, wanted)
        best: tuple[float, int] = (np.inf, -1)
        self.passes += 1
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
        rows_screened in their copies; bounds evaluated; near_ties; copy_bytes; seconds by phase.
        """
        reads, counts = self.rows.reads + self.crew.reads(), self.crew.counts()
        return {
            "rows_read": reads.rows,
            "bytes_read": reads.bytes,
            "chunks_read": reads.chunks,
            "passes": self.passes,
            "rows_screened": counts.screened,
            "bounds": counts.bounds,
            "refreshed": counts.refreshed,
            "near_ties": self._near_ties,
            "copy_bytes": counts.bytes,
            "seconds": {phase: round(seconds, 4) for phase, seconds in self._seconds.items()},
        }


class _Values(Mapping[int, Floats]):
    """x (d,) of rows by number, read a few at a time; where they are few, they are kept.

    They may be all rows there are, where it is open what the model is.
    """

    def __init__(self, rows: Rows, numbers: list[int]) -> None:
        self.rows, self.numbers, self.kept = rows, numbers, dict[int, Floats]()
        self._at = {row: at for at, row in enumerate(numbers)}

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __getitem__(self, row: int) -> Floats:
        if row not in self.kept:
            group = self.numbers[self._at[row] : self._at[row] + _FEW]
            self.kept = dict(zip(group, take(self.rows, np.array(group)), strict=True))
        return self.kept[row]
