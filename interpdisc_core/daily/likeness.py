"""What a day's images are like: the nearest of the days before, what was seen again, what resembles a marked image.

Two images are alike where one is nearer to the other than anything seen before it was. That distance, an image's reach,
is kept with each pick; it needs no threshold of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interpdisc_core.daily.calendar import Item
from interpdisc_core.daily.commit import rows_of
from interpdisc_core.daily.settings import Daily
from interpdisc_core.selectors.choice import Floats
from interpdisc_core.storage import Place

NEAREST = 3
_TOGETHER = 4096
"""Images whose features are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An image of a day before. distance: Euclidean, of features."""

    id: str
    key: str
    day: str
    distance: float


def nearest_before(
    archive: Place, settings: Daily, days: Mapping[str, Sequence[Item]], values: Floats
) -> list[tuple[Neighbour, ...]]:
    """For each of values (n, d) the nearest images of `days`, the nearest first; ties by day and id."""
    best: list[list[Neighbour]] = [[] for _ in values]
    for day, part in _parts(days):
        rows = rows_of(archive, settings, part)
        if not len(rows) or not len(values):
            continue
        distances = _distances(values, rows)
        for number, found in enumerate(distances):
            for place in np.argsort(found, kind="stable")[:NEAREST]:
                entry = part[int(place)].entry
                best[number].append(Neighbour(entry.id, entry.key, day, float(found[place])))
            best[number] = sorted(best[number], key=lambda near: (near.distance, near.day, near.id))[:NEAREST]
    return [tuple(found) for found in best]


def alike(values: Floats, among: Floats, reaches: npt.NDArray[np.float64]) -> list[npt.NDArray[np.intp]]:
    """For each of values (n, d) the rows of `among` (m, d) that are nearer to it than its reach (n,), nearest first."""
    if not len(values) or not len(among):
        return [np.empty(0, dtype=np.intp) for _ in values]
    found = []
    for distances, reach in zip(_distances(values, among), reaches, strict=True):
        order = np.argsort(distances, kind="stable")
        found.append(order[distances[order] < reach])
    return found


def _distances(values: Floats, rows: Floats) -> Floats:
    """Euclidean distances (n, m), row by row: the same pair has the same bits whatever it stands beside."""
    return np.array([np.sqrt(((rows - x) ** 2).sum(axis=1)) for x in values])


def _parts(days: Mapping[str, Sequence[Item]]) -> Iterable[tuple[str, list[Item]]]:
    for day, items in days.items():
        for first in range(0, len(items), _TOGETHER):
            yield day, list(items[first : first + _TOGETHER])
