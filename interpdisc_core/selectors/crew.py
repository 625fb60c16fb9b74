"""Who holds the shards of a selection. In one process that is the `LocalCrew`; a cluster has one of its own (`deploy`).

The messages are few and small: a model goes out, bounds and the rows that can win come back. A crew answers for its
shards: one that is lost is built again from the rows, and no pick depends on when.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.choice import Floats, Measure
from interpdisc_core.selectors.leading import Moments, groups, moments
from interpdisc_core.selectors.rows import Features, Reads, Rows
from interpdisc_core.selectors.shard import Counts, Found, Look, Shard
from interpdisc_core.selectors.sketch import Bits

Missing = Literal["refuse", "zero", "ignore"]


@dataclass(frozen=True, eq=False)
class Site:
    """What a shard is made of: rows [start, stop), copied about `centre` (d,) in `bits`, in memory or in a file.

    rank: that models will have, as far as is known. missing: what a missing value is, see `Demud`. device: that holds
    the copies, see `Means`, of whoever holds the shard.
    """

    start: int
    stop: int
    centre: Floats
    rank: int
    measure: Measure
    bits: Bits
    scratch: bool
    missing: Missing
    device: str = "cpu"

    def room(self, rows: Rows) -> Shard:
        """The shard, its rows not copied yet. Raises PlanError where the device is not there."""
        return Shard(
            rows, self.start, self.stop, self.centre, self.rank, self.measure, self.bits, self.scratch, self.device
        )

    def check(self, at: slice, values: Features) -> None:
        """Raises PlanError for a value that is not finite and may not be missing."""
        bad = np.isinf(values) if self.missing == "ignore" else ~np.isfinite(values)
        if bad.any():
            row, feature = (int(i) for i in np.argwhere(bad)[0])
            raise PlanError(
                f"row {at.start + row} has no finite value in feature {feature} ({values[row, feature]}): "
                "leave it out, or say what missing values mean (missing: zero or ignore)."
            )


class Crew(Protocol):
    """Holds the shards that cover all rows. `number`: how many there are to be."""

    number: int

    def build(self, sites: list[Site], scatter: bool) -> Iterator[Moments]:
        """Copy all rows; yields the moments of `groups`, in their order. Raises PlanError as `Site.check` does."""

    def reach(self) -> float:
        """The largest |x − c| of all rows, see `Shard.reach`."""

    def begin(self, look: Look) -> float:
        """See `Shard.begin`: the best of them."""

    def finish(self, floor: float) -> list[Found]:
        """See `Shard.finish`, of each."""

    def drop(self, row: int) -> None:
        """A row is taken."""

    def counts(self) -> Counts:
        """What all of them did."""

    def reads(self) -> Reads:
        """What other processes read of the rows for it."""


def parts(site: Site, count: int) -> list[tuple[int, int]]:
    """Those of the `groups` of `count` rows that lie in a site; groups never cross a site's border."""
    return [part for part in groups(count) if site.start <= part[0] < site.stop]


def copied(rows: Rows, site: Site, shard: Shard, part: tuple[int, int], scatter: bool) -> Moments:
    """Copy rows [start, stop) of the whole into their shard; returns their moments. Raises PlanError as `Site.check`."""

    def also(at: slice, values: Features) -> None:
        site.check(at, values)
        shard.put(at, values)

    return moments(rows, part[0], part[1], site.centre, scatter, also)


class LocalCrew:
    """Shards in this process, each looked at by a thread."""

    def __init__(self, rows: Rows, threads: int) -> None:
        self.rows, self.number, self.shards = rows, threads, list[Shard]()
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def _map(self, work: Callable[[Any], Any], over: Iterable[Any]) -> list[Any]:
        return list(self._pool.map(work, over) if self._pool else map(work, over))

    def build(self, sites: list[Site], scatter: bool) -> Iterator[Moments]:
        """See `Crew`."""
        self.shards = [site.room(self.rows) for site in sites]
        count = self.rows.shape[0]
        jobs = [
            (self.rows, site, shard, part, scatter)
            for site, shard in zip(sites, self.shards, strict=True)
            for part in parts(site, count)
        ]
        for first in range(0, len(jobs), self.number):  # few at a time: each may be a (d, d) matrix
            yield from self._map(lambda job: copied(*job), jobs[first : first + self.number])

    def reach(self) -> float:
        """See `Crew`."""
        return max((shard.reach for shard in self.shards), default=0.0)

    def begin(self, look: Look) -> float:
        """See `Crew`."""
        return max(self._map(lambda shard: shard.begin(look), self.shards), default=-np.inf)

    def finish(self, floor: float) -> list[Found]:
        """See `Crew`."""
        return self._map(lambda shard: shard.finish(floor), self.shards)

    def drop(self, row: int) -> None:
        """See `Crew`."""
        for shard in self.shards:
            if shard.start <= row < shard.stop:
                shard.drop(row)

    def counts(self) -> Counts:
        """See `Crew`."""
        return sum((shard.counts for shard in self.shards), Counts())

    def reads(self) -> Reads:
        """See `Crew`: nothing, the rows themselves have counted."""
        return Reads()
