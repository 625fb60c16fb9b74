"""Images of a day that are like others: nearest earlier images, repeats of earlier picks, images like a marked one.

Two images are alike if the second is nearer to the first than anything seen before the first was. This distance, the
novelty radius, follows from each pick's nearest earlier image and needs no threshold.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core._types import FloatArray
from interpdisc_core.archive.constraints import with_absorbed
from interpdisc_core.archive.day_result import LaneImage, NearestImage, read_day_result
from interpdisc_core.operations.daily.commit import load_day_features
from interpdisc_core.operations.daily.days import ALL_IMAGES, DayImage
from interpdisc_core.operations.daily.horizon import score_novelty
from interpdisc_core.operations.daily.prepare import DaySnapshot
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.selectors.neighbors import compute_pairwise_distances
from interpdisc_core.storage.location import Location

MAX_NEIGHBORS = 3
"""Nearest earlier images of a pick."""
MAX_LANE_IMAGES = 20
"""Images that a list apart from the picks names, at most."""
_MAX_EXAMPLES = 3
"""Images of today that are named for an earlier pick."""
_CHUNK_IMAGES = 4096
"""Images whose features are in memory at a time."""
_RADIUS_DAYS = 30
"""Days before a marked image that its novelty radius is computed from: the default horizon."""
_ABSORBED_SHARE = 0.5
"""An image is reported as like a boring one if learning that takes at least half of its novelty away."""


def build_lane_image(item: DayImage, **fields: Any) -> LaneImage:
    """An image for one of the lists apart from the picks."""
    return LaneImage(id=item.entry.id, key=item.entry.key, uri=item.pixel_uri, sha256=item.entry.sha256, **fields)


def find_nearest_before(
    archive: Location, settings: Daily, days: Mapping[str, Sequence[DayImage]], values: FloatArray
) -> list[tuple[NearestImage, ...]]:
    """The nearest earlier images of each vector.

    Args:
        archive: The archive.
        settings: Settings of the daily run.
        days: Readable images by day.
        values: Vectors (n, d), normalised as the plan says.

    Returns:
        For each vector at most `MAX_NEIGHBORS` images of `days`, nearest first; ties by day and id.
    """
    best: list[list[NearestImage]] = [[] for _ in values]
    for day, chunk in _iter_chunks(days):
        rows = load_day_features(archive, settings, chunk)
        if not len(rows) or not len(values):
            continue
        for number, distances in enumerate(compute_pairwise_distances(values, rows)):
            for index in np.argsort(distances, kind="stable")[:MAX_NEIGHBORS].tolist():
                entry = chunk[index].entry
                best[number].append(NearestImage(id=entry.id, key=entry.key, day=day, distance=float(distances[index])))
            best[number].sort(key=lambda neighbor: (neighbor.distance, neighbor.day, neighbor.id))
            del best[number][MAX_NEIGHBORS:]
    return [tuple(neighbors) for neighbors in best]


def find_within_radius(
    values: FloatArray, candidates: FloatArray, radii: npt.NDArray[np.float64]
) -> list[npt.NDArray[np.intp]]:
    """The candidates that are nearer to each vector than its radius.

    Args:
        values: Vectors (n, d).
        candidates: Vectors (m, d).
        radii: Euclidean distances (n,).

    Returns:
        For each vector the indices of its candidates, nearest first.
    """
    if not len(values) or not len(candidates):
        return [np.empty(0, dtype=np.intp) for _ in values]
    matches = []
    for distances, radius in zip(compute_pairwise_distances(values, candidates), radii, strict=True):
        order = np.argsort(distances, kind="stable")
        matches.append(order[distances[order] < radius])
    return matches


def _iter_chunks(days: Mapping[str, Sequence[DayImage]]) -> Iterable[tuple[str, list[DayImage]]]:
    for day, items in days.items():
        for first in range(0, len(items), _CHUNK_IMAGES):
            yield day, list(items[first : first + _CHUNK_IMAGES])


def find_like_interesting(
    archive: Location, settings: Daily, snapshot: DaySnapshot, rows: FloatArray
) -> list[LaneImage]:
    """Images of the day within the novelty radius of one that somebody marked as interesting, nearest first.

    Args:
        archive: The archive.
        settings: Settings of the daily run.
        snapshot: What the day is computed from.
        rows: Features of `snapshot.triage.science` (n, d).
    """
    images = []
    for day, items in snapshot.items_by_day.items():
        for item in items:
            verdict = snapshot.verdicts.get(item.entry.sha256)
            if not item.is_readable or verdict is None or verdict.verdict != "interesting":
                continue
            x = load_day_features(archive, settings, [item])
            (neighbors,) = find_nearest_before(archive, settings, _days_before(snapshot.items_by_day, day), x)
            radius = neighbors[0].distance if neighbors else np.inf
            for index in find_within_radius(x, rows, np.array([radius]))[0][:MAX_LANE_IMAGES].tolist():
                match = snapshot.triage.science[index]
                if match.entry.sha256 != item.entry.sha256:
                    distance = float(np.sqrt(((rows[index] - x[0]) ** 2).sum()))
                    images.append(build_lane_image(match, like=item.entry.id, like_day=day, distance=distance))
    return sorted(images, key=lambda image: (image.distance or 0.0, image.id))[:MAX_LANE_IMAGES]


def _days_before(days: Mapping[str, list[DayImage]], day: str) -> dict[str, list[DayImage]]:
    """The readable images of the last days before one."""
    names = list(days)
    earlier = names[: names.index(day)][-_RADIUS_DAYS:]
    return {name: [item for item in days[name] if item.is_readable] for name in earlier}


def find_like_boring(archive: Location, settings: Daily, snapshot: DaySnapshot, rows: FloatArray) -> list[LaneImage]:
    """Images that would be among the newest if nobody had marked an image like them as boring, newest first.

    Args:
        archive: The archive.
        settings: Settings of the daily run.
        snapshot: What the day is computed from.
        rows: Features of `snapshot.triage.science` (n, d).
    """
    if not snapshot.boring_items or not len(rows):
        return []
    prior = snapshot.horizon.load_prior(archive, settings, ALL_IMAGES)
    boring_rows, rank = load_day_features(archive, settings, snapshot.boring_items), settings.selector.rank
    base_scores = score_novelty(prior, rank, rows)
    absorbed_scores = score_novelty(with_absorbed(prior, boring_rows), rank, rows)
    images = []
    for index in np.argsort(-np.nan_to_num(base_scores), kind="stable")[: settings.plan.picks].tolist():
        if np.isfinite(base_scores[index]) and absorbed_scores[index] < _ABSORBED_SHARE * base_scores[index]:
            nearest = int(np.argmin(((boring_rows - rows[index]) ** 2).sum(axis=1)))
            like = snapshot.boring_items[nearest].entry.id
            images.append(build_lane_image(snapshot.triage.science[index], like=like))
    return images


def find_recurrences(archive: Location, settings: Daily, snapshot: DaySnapshot, rows: FloatArray) -> list[LaneImage]:
    """Picks of the horizon's days that images of this day are like.

    Args:
        archive: The archive.
        settings: Settings of the daily run.
        snapshot: What the day is computed from.
        rows: Features of `snapshot.triage.science` (n, d).
    """
    earlier_picks: list[tuple[str, DayImage, float]] = []
    for day_commit in snapshot.horizon.commits:
        day_result = read_day_result(archive, day_commit.day) if day_commit.run else None
        item_by_key = {item.entry.key: item for item in snapshot.items_by_day.get(day_commit.day, [])}
        for pick in day_result.picks if day_result else ():
            item = item_by_key.get(pick.key)
            if item is not None and item.is_readable and pick.nearest:
                earlier_picks.append((day_commit.day, item, pick.nearest[0].distance))
    if not earlier_picks or not len(rows):
        return []
    values = load_day_features(archive, settings, [item for _, item, _ in earlier_picks])
    matches_by_pick = find_within_radius(values, rows, np.array([radius for _, _, radius in earlier_picks]))
    return [
        build_lane_image(
            item,
            day=day,
            recurrence_count=len(matches),
            recurrence_examples=tuple(
                snapshot.triage.science[index].entry.id for index in matches[:_MAX_EXAMPLES].tolist()
            ),
        )
        for (day, item, _), matches in zip(earlier_picks, matches_by_pick, strict=True)
        if len(matches)
    ]


def count_later_recurrences(
    archive: Location, day: str, days: Mapping[str, list[DayImage]]
) -> dict[str, dict[str, int]]:
    """How many images of each later day are like a pick of this day: by the pick's id, then by day."""
    names = list(days)
    counts_by_pick: dict[str, dict[str, int]] = {}
    for later_day in names[names.index(day) + 1 :]:
        later_result = read_day_result(archive, later_day)
        for discovery in later_result.discoveries if later_result else ():
            if discovery.day == day:
                counts_by_pick.setdefault(discovery.id, {})[later_day] = discovery.recurrence_count
    return counts_by_pick
