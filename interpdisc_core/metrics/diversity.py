"""How a selection covers a collection in feature space: does it repeat itself, and what does it leave far away?

Distances are Euclidean, in float64. Candidates for the nearest rows come from matrix products; the distance to them is
then computed from differences, so that of equal rows is 0.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from interpdisc_core.selectors.neighbors import compute_squared_distances, find_neighbors


@dataclass(frozen=True, slots=True)
class DiversityScores:
    """How picks cover a collection; see `redundancy` and `coverage`.

    Attributes:
        epsilon: Distance up to which two rows count as alike.
        redundancy: Share of picks like an earlier pick, 0 to 1; lower is better.
        radius: The k-center radius of the picks; lower is better.
        relative_radius: That over the radius of the mean, ≥ 0; lower is better.
        covered: Share of rows like a pick, 0 to 1; higher is better.
    """

    epsilon: float
    redundancy: float
    radius: float
    relative_radius: float
    covered: float

    def as_dict(self) -> dict[str, float]:
        """Its numbers by name."""
        return asdict(self)


def score_diversity(values: npt.ArrayLike, picks: Sequence[int], epsilon: float | None = None) -> DiversityScores:
    """Score the picked rows of a collection.

    Args:
        values: Features (N, d).
        picks: Rows in the order in which they were picked.
        epsilon: Distance up to which two rows count as alike. None: `typical_distance`.

    Raises:
        ValueError: If nothing is picked.
    """
    rows = np.asarray(values, dtype=np.float64)
    alike_distance = typical_distance(rows) if epsilon is None else epsilon
    return DiversityScores(
        alike_distance, redundancy(rows, picks, alike_distance), *coverage(rows, picks, alike_distance)
    )


def redundancy(values: npt.ArrayLike, picks: Sequence[int], epsilon: float) -> float:
    """The share of picks, from the second on, at most `epsilon` from an earlier pick: 0 to 1, lower is better.

    0 for fewer than two picks.
    """
    picked_rows = np.asarray(values, dtype=np.float64)[np.asarray(picks, dtype=np.intp)]
    if len(picked_rows) < 2:
        return 0.0
    repeat_count = 0
    for row in range(1, len(picked_rows)):
        differences = picked_rows[:row] - picked_rows[row]
        repeat_count += bool(np.einsum("nd,nd->n", differences, differences).min() <= epsilon**2)
    return repeat_count / (len(picked_rows) - 1)


def coverage(values: npt.ArrayLike, picks: Sequence[int], epsilon: float) -> tuple[float, float, float]:
    """The k-center radius of the picks, that radius relative to the mean's, and the share of rows near a pick.

    Args:
        values: Features (N, d).
        picks: Rows that were picked.
        epsilon: Distance up to which two rows count as alike.

    Returns:
        radius: max_i min_p |x_i − x_p|, how far the row is that the picks represent least; lower is better.
        relative_radius: That over max_i |x_i − mean|, the radius of showing only the mean. It can exceed 1, and is 0 if
            all rows are equal; lower is better.
        covered: Share of rows within `epsilon` of a pick, picks included, 0 to 1; higher is better.

    Raises:
        ValueError: If nothing is picked.
    """
    rows = np.asarray(values, dtype=np.float64)
    if not len(picks):
        raise ValueError("the coverage of no picks is not defined")
    picked_rows = rows[np.asarray(picks, dtype=np.intp)]
    squares = compute_squared_distances(rows, picked_rows, find_neighbors(rows, picked_rows, 1))[:, 0]
    offsets = rows - rows.mean(axis=0)
    max_offset = float(np.sqrt(np.einsum("nd,nd->n", offsets, offsets).max()))
    radius = float(np.sqrt(squares.max()))
    return radius, radius / max_offset if max_offset else 0.0, float((squares <= epsilon**2).mean())


def typical_distance(values: npt.ArrayLike, seed: int = 0, sample: int = 500) -> float:
    """The median distance of a row to its nearest other row: the unit by which two rows count as alike.

    0 if most rows have a duplicate, or there are fewer than two.

    Args:
        values: Features (N, d).
        seed: Of the sample.
        sample: The median is over this many random rows, or all if there are fewer; each is compared with all rows.
    """
    rows = np.asarray(values, dtype=np.float64)
    if len(rows) < 2:
        return 0.0
    sampled = np.sort(np.random.default_rng(seed).permutation(len(rows))[:sample])
    neighbors = find_neighbors(rows[sampled], rows, 2)  # one of them is the row itself, unless it has two duplicates
    squares = np.where(neighbors == sampled[:, None], np.inf, compute_squared_distances(rows[sampled], rows, neighbors))
    return float(np.median(np.sqrt(squares.min(axis=1))))
