"""Which days count as seen before a day, and how unusual a score is beside what those days' images scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from interpdisc_core import catalog
from interpdisc_core.daily.commit import Commit, commits
from interpdisc_core.daily.settings import Daily
from interpdisc_core.daily.strata import memory_of
from interpdisc_core.memory import Memory, canonical
from interpdisc_core.selectors import Seen
from interpdisc_core.selectors.choice import Floats, Subspace
from interpdisc_core.storage import Place

ALARM = 0.01
"""Share of the horizon's images that are at least as novel as one that counts as an alarm."""
ENOUGH = 100
"""Images that a horizon must have scored before shares of it say something."""
_SPIKE, _SPIKE_FROM = 3.0, 5
"""A novelty spike is more than three times the alarms expected, and at least five."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """The committed days that count as seen, in order."""

    days: tuple[Commit, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(commit.day for commit in self.days)

    def batches(self, stratum: str) -> dict[str, str]:
        """The records of a stratum, by day, with what names their content."""
        return {c.day: c.records[stratum].digest for c in self.days if stratum in c.records}

    def images(self, stratum: str) -> int:
        """How many images they hold of a stratum."""
        return sum(c.records[stratum].count for c in self.days if stratum in c.records)

    def seen(self, archive: Place, settings: Daily, stratum: str) -> Seen | None:
        """What they hold together of a stratum; None where that is nothing."""
        batches = self.batches(stratum)
        return Memory(archive, memory_of(settings, stratum)).horizon(list(batches)) if batches else None


def before(archive: Place, day: str, settings: Daily, site: str) -> Horizon:
    """The days before `day` that its horizon holds: never one after it, whenever those were committed."""
    earlier = [commit for commit in commits(archive) if canonical(commit.day) < canonical(day)]
    if settings.horizon == "site":
        earlier = [commit for commit in earlier if site and commit.site == site]
    return Horizon(tuple(earlier[-settings.sols :] if settings.horizon == "sols" else earlier))


def novelty(seen: Seen | None, rank: int, values: Floats) -> Floats:
    """|x − x̂|² of rows (n, d) against a rank-k model of what was seen, before any of them is learned: (n,), or NaN."""
    if seen is None or not seen.count:
        return np.full(len(values), np.nan)
    model = Subspace(seen.mean, seen.axes[:rank])
    return np.array([float((model.residual(x) ** 2).sum()) for x in values])


SCORES = pa.schema([("id", pa.string()), ("key", pa.string()), ("stratum", pa.string()), ("score", pa.float64())])


def write_scores(archive: Place, day: str, scores: Mapping[str, Sequence[tuple[str, str, float]]]) -> None:
    """Keep how new each image of a day was beside the days before. scores: by stratum, (id, key, score)."""
    rows = [
        {"id": image, "key": key, "stratum": stratum, "score": score}
        for stratum, of in scores.items()
        for image, key, score in of
    ]
    archive.write(f"days/{day}/scores.parquet", catalog.parquet(pa.Table.from_pylist(rows, schema=SCORES)))


def scores_of(archive: Place, day: str) -> dict[str, dict[str, float]]:
    """How new each image of a day was, by stratum and key; nothing where the day has none."""
    try:
        table = catalog.table_of(archive, f"days/{day}/scores.parquet")
    except FileNotFoundError:
        return {}
    found: dict[str, dict[str, float]] = {}
    for row in table.to_pylist():
        found.setdefault(row["stratum"], {})[row["key"]] = row["score"]
    return found


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the images of a horizon scored, each beside the days before its own. scores (n,), rising."""

    scores: npt.NDArray[np.float64]
    days: int

    @property
    def enough(self) -> bool:
        """Whether shares of it say something."""
        return len(self.scores) >= ENOUGH

    def share(self, score: float) -> float | None:
        """Share (0…1) of them that scored at least this much; small is unusual. None where that says nothing."""
        if not self.enough or not np.isfinite(score):
            return None
        return float(len(self.scores) - np.searchsorted(self.scores, score, side="left")) / len(self.scores)

    def a_day(self, score: float) -> float | None:
        """How many images a day at least this new the horizon had."""
        share = self.share(score)
        return None if share is None else share * len(self.scores) / self.days

    def spike(self, scores: Floats) -> tuple[bool, int, float | None]:
        """Whether more of a day's scores (n,) are alarms than is usual; how many are, and how many are expected."""
        if not self.enough or not len(scores):
            return False, 0, None
        bar = self.scores[min(len(self.scores) - 1, int(np.ceil((1 - ALARM) * len(self.scores))))]
        alarms, expected = int((scores >= bar).sum()), float((self.scores >= bar).mean() * len(scores))
        return alarms >= _SPIKE_FROM and alarms > _SPIKE * expected, alarms, expected


def calibrations(archive: Place, horizon: Horizon) -> dict[str, Calibration]:
    """Calibrations by stratum. Images of days that had nothing before them have no score, and do not count."""
    scores: dict[str, list[float]] = {}
    days: dict[str, int] = {}
    for day in horizon.names:
        for stratum, of in scores_of(archive, day).items():
            known = [score for score in of.values() if np.isfinite(score)]
            if known:
                scores.setdefault(stratum, []).extend(known)
                days[stratum] = days.get(stratum, 0) + 1
    return {stratum: Calibration(np.sort(np.array(of)), days[stratum]) for stratum, of in scores.items()}
