"""The horizon: which earlier days count as seen, and how unusual a score is compared with the scores of their images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from interpdisc_core._types import FloatArray
from interpdisc_core.archive.memory import Memory, canonical_sort_key
from interpdisc_core.operations.daily.commit import DayCommit, load_commits
from interpdisc_core.operations.daily.days import stratum_key
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.selectors import Prior
from interpdisc_core.selectors.decision import Subspace
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import read_parquet, rows_to_parquet

ALARM_SHARE = 0.01
"""An image is an alarm if at most this share of the horizon's images scored as high."""
MIN_CALIBRATION_SCORES = 100
"""Scores that a horizon needs before shares of it are reported."""
_SPIKE_FACTOR, _MIN_SPIKE_ALARMS = 3.0, 5
"""A novelty spike is more than three times the expected alarms, and at least five alarms."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """The committed days that count as seen, in order."""

    commits: tuple[DayCommit, ...]

    @property
    def day_names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(commit.day for commit in self.commits)

    def record_digests(self, stratum: str) -> dict[str, str]:
        """The digest of a stratum's record, by day."""
        return {c.day: c.records[stratum].digest for c in self.commits if stratum in c.records}

    def count_images(self, stratum: str) -> int:
        """Number of images of a stratum in all of them."""
        return sum(c.records[stratum].count for c in self.commits if stratum in c.records)

    def load_prior(self, archive: Location, settings: Daily, stratum: str) -> Prior | None:
        """Mean and axes of all their images of a stratum; None if they have none."""
        day_names = list(self.record_digests(stratum))
        memory = Memory(archive, stratum_key(stratum, settings.memory_digest))
        return memory.load_horizon(day_names) if day_names else None


def load_horizon_before(archive: Location, day: str, settings: Daily, site: str) -> Horizon:
    """The horizon of a day. Days after it are never part of it, whenever they were committed.

    Args:
        archive: The archive.
        day: Name of the day.
        settings: Settings of the daily run.
        site: The day's site, see `find_majority_site`; used by the horizon `site`.
    """
    earlier = [commit for commit in load_commits(archive) if canonical_sort_key(commit.day) < canonical_sort_key(day)]
    if settings.horizon == "site":
        earlier = [commit for commit in earlier if site and commit.site == site]
    return Horizon(tuple(earlier[-settings.horizon_sols :] if settings.horizon == "sols" else earlier))


def score_novelty(prior: Prior | None, rank: int, values: FloatArray) -> FloatArray:
    """Novelty |x − x̂|² of rows against a rank-k model of what was seen, before any of them is learned.

    Args:
        prior: What was seen; None for nothing.
        rank: k, number of axes of the model.
        values: Rows (n, d).

    Returns:
        Scores (n,), ≥ 0, higher is newer; NaN if nothing was seen.
    """
    if prior is None or not prior.count:
        return np.full(len(values), np.nan)
    model = Subspace(prior.mean, prior.axes[:rank])
    return np.array([float((model.compute_residual(x) ** 2).sum()) for x in values])


SCORES_SCHEMA = pa.schema(
    [("id", pa.string()), ("key", pa.string()), ("stratum", pa.string()), ("score", pa.float64())]
)


def write_day_scores(archive: Location, day: str, scores: Mapping[str, Sequence[tuple[str, str, float]]]) -> None:
    """Write the novelty of each image of a day against the earlier days as `days/<day>/scores.parquet`.

    Args:
        archive: The archive.
        day: Name of the day.
        scores: (id, key, score) of each image, by stratum.
    """
    rows = [
        {"id": image, "key": key, "stratum": stratum, "score": score}
        for stratum, image_scores in scores.items()
        for image, key, score in image_scores
    ]
    archive.write_checked(f"days/{day}/scores.parquet", rows_to_parquet(rows, SCORES_SCHEMA))


def read_day_scores(archive: Location, day: str) -> dict[str, dict[str, float]]:
    """The novelty of each image of a day, by stratum and key; empty if the day has no scores."""
    try:
        table = read_parquet(archive, f"days/{day}/scores.parquet")
    except FileNotFoundError:
        return {}
    scores_by_stratum: dict[str, dict[str, float]] = {}
    for row in table.to_pylist():
        scores_by_stratum.setdefault(row["stratum"], {})[row["key"]] = row["score"]
    return scores_by_stratum


@dataclass(frozen=True, slots=True)
class Calibration:
    """The scores of a horizon's images, each against the days before its own.

    Attributes:
        scores: Of all images (n,), ascending.
        day_count: Number of days that they are from.
    """

    scores: npt.NDArray[np.float64]
    day_count: int

    @property
    def is_sufficient(self) -> bool:
        """Whether there are enough scores to report shares of them."""
        return len(self.scores) >= MIN_CALIBRATION_SCORES

    def tail_probability(self, score: float) -> float | None:
        """Share (0 to 1) of the scores that are at least this high; small is unusual. None if there are too few."""
        if not self.is_sufficient or not np.isfinite(score):
            return None
        return float(len(self.scores) - np.searchsorted(self.scores, score, side="left")) / len(self.scores)

    def expected_per_day(self, score: float) -> float | None:
        """How many images per day scored at least this high; None if there are too few scores."""
        probability = self.tail_probability(score)
        return None if probability is None else probability * len(self.scores) / self.day_count

    def detect_spike(self, scores: FloatArray) -> tuple[bool, int, float | None]:
        """Whether clearly more of a day's scores (n,) are alarms than usual; the alarms, and how many are expected."""
        if not self.is_sufficient or not len(scores):
            return False, 0, None
        threshold = self.scores[min(len(self.scores) - 1, int(np.ceil((1 - ALARM_SHARE) * len(self.scores))))]
        alarms, expected = int((scores >= threshold).sum()), float((self.scores >= threshold).mean() * len(scores))
        return alarms >= _MIN_SPIKE_ALARMS and alarms > _SPIKE_FACTOR * expected, alarms, expected


def load_calibrations(archive: Location, horizon: Horizon) -> dict[str, Calibration]:
    """The calibration of each stratum. Images of days that had no earlier day have no score and do not count."""
    scores: dict[str, list[float]] = {}
    day_counts: dict[str, int] = {}
    for day in horizon.day_names:
        for stratum, stratum_scores in read_day_scores(archive, day).items():
            finite_scores = [score for score in stratum_scores.values() if np.isfinite(score)]
            if finite_scores:
                scores.setdefault(stratum, []).extend(finite_scores)
                day_counts[stratum] = day_counts.get(stratum, 0) + 1
    return {
        stratum: Calibration(np.sort(np.array(stratum_scores)), day_counts[stratum])
        for stratum, stratum_scores in scores.items()
    }
