"""How a selection spreads over a collection in feature space: does it repeat itself, and what does it leave far away?

Distances are Euclidean, in float64. Nearest rows are found from products, in blocks; a distance is then literal, so that
of equal rows is 0.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from interpdisc_core.selectors.held import nearest, squared_to

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spread:
    """What `spread` found. epsilon: the distance within which two rows count as alike. redundancy, covered: 0 to 1.

    radius: the k-centre radius of the picks; relative_radius: over that of the mean. See `redundancy` and `coverage`.
    """

    epsilon: float
    redundancy: float
    radius: float
    relative_radius: float
    covered: float

    def summary(self) -> dict[str, float]:
        """Its numbers for programs."""
        return asdict(self)


def spread(values: npt.ArrayLike, picked: Sequence[int], epsilon: float | None = None) -> Spread:
    """Evaluate the picked rows of a collection (N, d). epsilon: `typical_distance` where it is None.

    Raises ValueError where nothing is picked.
    """
    rows = np.asarray(values, dtype=np.float64)
    near = typical_distance(rows) if epsilon is None else epsilon
    return Spread(near, redundancy(rows, picked, near), *coverage(rows, picked, near))


def redundancy(values: npt.ArrayLike, picked: Sequence[int], epsilon: float) -> float:
    """The share of picks, from the second on, at most `epsilon` from an earlier pick: 0 to 1, lower is better.

    0 where there are fewer than two.
    """
    taken = np.asarray(values, dtype=np.float64)[np.asarray(picked, dtype=np.intp)]
    if len(taken) < 2:
        return 0.0
    again = 0
    for row in range(1, len(taken)):
        step = taken[:row] - taken[row]
        again += bool(np.einsum("nd,nd->n", step, step).min() <= epsilon**2)
    return again / (len(taken) - 1)


def coverage(values: npt.ArrayLike, picked: Sequence[int], epsilon: float) -> tuple[float, float, float]:
    """The k-centre radius max_i min_p |x_i − x_p|; that over max_i |x_i − mean|; the share of rows within epsilon of a pick.

    The radius is how far the row is that the picks represent least; lower is better. The ratio compares it to showing
    only the mean picture; it can exceed 1, and is 0 where all rows are alike. The share counts the picks; higher is better.
    Raises ValueError where nothing is picked.
    """
    rows = np.asarray(values, dtype=np.float64)
    if not len(picked):
        raise ValueError("the coverage of no picks is not defined")
    taken = rows[np.asarray(picked, dtype=np.intp)]
    squares = squared_to(rows, taken, nearest(rows, taken, 1))[:, 0]
    about = rows - rows.mean(axis=0)
    widest = float(np.sqrt(np.einsum("nd,nd->n", about, about).max()))
    radius = float(np.sqrt(squares.max()))
    return radius, radius / widest if widest else 0.0, float((squares <= epsilon**2).mean())


def typical_distance(values: npt.ArrayLike, seed: int = 0, sample: int = 500) -> float:
    """The median distance of a row to its nearest other row, over a seeded sample of rows (all, where there are fewer).

    0 where most rows have a duplicate, or there are fewer than two. Each sampled row is held against all of them.
    """
    rows = np.asarray(values, dtype=np.float64)
    if len(rows) < 2:
        return 0.0
    some = np.sort(np.random.default_rng(seed).permutation(len(rows))[:sample])
    which = nearest(rows[some], rows, 2)  # itself is one of them, or has two duplicates
    squares = np.where(which == some[:, None], np.inf, squared_to(rows[some], rows, which))
    return float(np.median(np.sqrt(squares.min(axis=1))))
