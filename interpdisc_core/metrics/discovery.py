"""How soon a selection finds the classes of a collection: discovery curves and the area under them.

nAUC_t = 100 · Σ_{i=1..t} c(i) / Σ_{i=1..t} min(i, n), where c(i) is the number of distinct classes among the first i
picks and n the number of classes in the collection. Higher is better; 100 is the oracle, a new class at every pick
until all are found. Always report t with it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core._types import FloatArray

Labels = Sequence[str | None]
"""One label a row; None or an empty text if it is unknown."""

REPORTED_PICKS = (10, 25, 50, 100, 300)
"""Numbers of picks after which tables say how many classes were found."""


def find_first_picks(labels_in_order: Labels) -> dict[str, int]:
    """The number of the pick, from 1, that found each class, in the order of the picks."""
    first_picks: dict[str, int] = {}
    for number, label in enumerate(labels_in_order, start=1):
        if label:
            first_picks.setdefault(label, number)
    return first_picks


def curve_from_first_picks(first_picks: Mapping[str, int], t: int) -> npt.NDArray[np.int64]:
    """c (t,): distinct classes among the first i picks, i = 1…t; see `find_first_picks`."""
    numbers = np.array(list(first_picks.values()), dtype=np.intp)
    return np.cumsum(np.bincount(numbers, minlength=t + 1)[1 : t + 1], dtype=np.int64)


def discovery_curve(labels_in_order: Labels) -> npt.NDArray[np.int64]:
    """c (t,): distinct classes among the first i picks, i = 1…t. A pick without a label finds nothing.

    Example:
        >>> discovery_curve(["rock", "sand", "rock", None, "sky"]).tolist()
        [1, 2, 2, 2, 3]
    """
    return curve_from_first_picks(find_first_picks(labels_in_order), len(labels_in_order))


def oracle_curve(classes: int, t: int) -> npt.NDArray[np.int64]:
    """min(i, n) (t,) for i = 1…t: the most classes that any selection can have found."""
    return np.minimum(np.arange(1, t + 1), classes)


def expected_random_curve(labels: Labels, t: int) -> FloatArray:
    """E c(i) (t,) for a random order without replacement, i = 1…t: Σ_c [1 − C(N − N_c, i) / C(N, i)]. Exact."""
    sizes, classes_of_size = _class_sizes(labels)
    curve: FloatArray = classes_of_size @ (1.0 - miss_probabilities(len(labels), sizes, t))
    return curve


def random_curve_sd(labels: Labels, t: int) -> FloatArray:
    """The standard deviation of c(i) (t,) for a random order without replacement, i = 1…t. Exact.

    With m_c(i) = C(N − N_c, i) / C(N, i), the probability that i picks miss class c, and m_cd(i) that they miss both c
    and d, C(N − N_c − N_d, i) / C(N, i): Var c(i) = Σ_c m_c (1 − m_c) + Σ_{c≠d} (m_cd − m_c m_d).
    """
    sizes, classes_of_size = _class_sizes(labels)
    miss = miss_probabilities(len(labels), sizes, t)
    variance = classes_of_size @ (miss * (1.0 - miss))
    # Classes of one size are alike, so the sum over pairs is one over sizes.
    for size, class_count, miss_of_size in zip(sizes, classes_of_size, miss, strict=True):
        other_classes = classes_of_size - (sizes == size)
        miss_both = miss_probabilities(len(labels), sizes + size, t)
        variance = variance + class_count * (other_classes @ (miss_both - miss * miss_of_size))
    deviation: FloatArray = np.sqrt(np.maximum(variance, 0.0))
    return deviation


def _class_sizes(labels: Labels) -> tuple[FloatArray, FloatArray]:
    """The different sizes of classes (s,), and how many classes have each (s,)."""
    counts = Counter(Counter(label for label in labels if label).values())
    return np.array(sorted(counts), dtype=np.float64), np.array([counts[size] for size in sorted(counts)], dtype=float)


def miss_probabilities(total: int, sizes: FloatArray, t: int) -> FloatArray:
    """C(total − size, i) / C(total, i) (s, t): the probability that i = 1…t random picks miss all rows of a class.

    Args:
        total: Number of rows.
        sizes: Rows of each class (s,).
        t: Number of picks.
    """
    remaining = total - np.arange(t, dtype=np.float64)  # rows left at each pick
    # A product loses nothing in a large collection; logarithms of factorials do.
    return np.cumprod(
        np.maximum(remaining - sizes[:, None], 0.0) / np.maximum(remaining, 1.0), axis=1, dtype=np.float64
    )


def nauc(curve: npt.ArrayLike, classes: int, t: int) -> float:
    """nAUC_t of a discovery curve, 0 to 100. Picks that a shorter curve lacks count as finding nothing.

    Example:
        >>> nauc([1, 2, 2, 3], classes=3, t=4)
        88.88888888888889
    """
    truncated_curve = np.asarray(curve, dtype=np.float64)[:t]
    return float(100.0 * truncated_curve.sum() / oracle_curve(classes, t).sum()) if classes and t else 0.0


def nauc_whi2018(curve: npt.ArrayLike, classes: int, t: int) -> float | None:
    """nAUC_t as the script behind the tables of Wagstaff & Lee 2018 computes it: without the curve's last term.

    A perfect run scores 100 · (1 − n / (n(n+1)/2 + n(t − n))), not 100. None if t < n, for which the script has no
    oracle.
    """
    if not classes or t < classes:
        return None
    truncated_curve = np.asarray(curve, dtype=np.float64)[: t - 1]
    return float(100.0 * truncated_curve.sum() / (classes * (classes + 1) / 2 + classes * (t - classes)))


def classes_found_at(first_picks: Mapping[str, int], pick_counts: Sequence[int] = REPORTED_PICKS) -> dict[int, int]:
    """How many classes were found after each number of picks; see `find_first_picks`."""
    return {picks: sum(first <= picks for first in first_picks.values()) for picks in pick_counts}


@dataclass(frozen=True, slots=True)
class DiscoveryResult:
    """What a selection finds of a labeled collection.

    Attributes:
        t: Picks that count.
        classes: Classes in the collection.
        curve: Classes among the first i picks; shorter than t if the selection stopped early.
        oracle_curve: The most that can be found (t,).
        random_curve: The expectation for a random order (t,).
        nauc: nAUC_t, 0 to 100; higher is better.
        nauc_whi2018: The same by the script of Wagstaff & Lee 2018; None if t is below the number of classes.
        random_nauc: The expectation of `nauc` for a random order.
        first_picks: By class found, the number of the pick that found it, from 1.
        missed_classes: Classes that no pick found, by name.
    """

    t: int
    classes: int
    curve: npt.NDArray[np.int64]
    oracle_curve: npt.NDArray[np.int64]
    random_curve: FloatArray
    nauc: float
    nauc_whi2018: float | None
    random_nauc: float
    first_picks: dict[str, int]
    missed_classes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The keys `nauc` and `classes` of a run's result.json."""
        return {
            "nauc": {"exact": self.nauc, "whi2018": self.nauc_whi2018, "t": self.t, "random": self.random_nauc},
            "classes": {"total": self.classes, "found": self.first_picks, "missed": self.missed_classes},
        }


def evaluate_discovery(labels: Labels, picks: Sequence[int], t: int) -> DiscoveryResult:
    """Score a selection by the classes that it finds.

    Args:
        labels: One label a row of the collection.
        picks: Rows in the order in which they were picked; only the first t count.
        t: Picks that count; at most the number of rows is used.

    Example:
        >>> result = evaluate_discovery(["rock", "rock", "sand", None], picks=[2, 3, 0], t=3)
        >>> round(result.nauc, 1), result.first_picks
        (80.0, {'sand': 1, 'rock': 3})
    """
    t = min(t, len(labels))
    pick_labels = [labels[row] for row in picks[:t]]
    class_names = sorted({label for label in labels if label})
    first_picks = find_first_picks(pick_labels)
    curve, random_curve = curve_from_first_picks(first_picks, len(pick_labels)), expected_random_curve(labels, t)
    return DiscoveryResult(
        t,
        len(class_names),
        curve,
        oracle_curve(len(class_names), t),
        random_curve,
        nauc(curve, len(class_names), t),
        nauc_whi2018(curve, len(class_names), t),
        nauc(random_curve, len(class_names), t),
        first_picks,
        [name for name in class_names if name not in first_picks],
    )


def discovery_to_json(discovery: DiscoveryResult | None) -> dict[str, Any]:
    """`nauc` and `classes` of a result file; both are None if there are no labels."""
    return {"nauc": None, "classes": None} if discovery is None else discovery.as_dict()
