"""How soon a selection shows what there is: discovery curves and the area under them.

nAUC_t = 100 · Σ_{i=1..t} c(i) / Σ_{i=1..t} min(i, n), where c(i) is the number of distinct classes among the first i
picks and n the number of classes in the collection. Higher is better; 100 is the oracle, a new class at every pick
until there are no more. t is always stated with it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = Sequence[str | None]
Curve = npt.NDArray[np.float64]


def discovery_curve(picked: Labels) -> npt.NDArray[np.int64]:
    """c (t,): distinct classes among the first i picks, i = 1…t. A pick without a label discovers nothing."""
    seen: set[str] = set()
    counts = []
    for label in picked:
        seen |= {label} if label else set()
        counts.append(len(seen))
    return np.array(counts, dtype=np.int64)


def oracle_curve(classes: int, t: int) -> npt.NDArray[np.int64]:
    """min(i, n) for i = 1…t: no selection can do better."""
    return np.minimum(np.arange(1, t + 1), classes)


def expected_random_curve(labels: Labels, t: int) -> Curve:
    """E c(i) for a random order without replacement, i = 1…t: Σ_c [1 − C(N − N_c, i) / C(N, i)]. Exact."""
    sizes, often = _sizes(labels)
    curve: Curve = often @ (1.0 - _missed(len(labels), sizes, t))
    return curve


def random_band(labels: Labels, t: int) -> Curve:
    """The standard deviation of c(i) (t,) for a random order without replacement, i = 1…t. Exact.

    With m_c(i) = C(N − N_c, i) / C(N, i), the probability that class c is missed by i picks, and m_cd(i) that of both
    c and d, C(N − N_c − N_d, i) / C(N, i): Var c(i) = Σ_c m_c (1 − m_c) + Σ_{c≠d} (m_cd − m_c m_d).
    """
    sizes, often = _sizes(labels)
    missed = _missed(len(labels), sizes, t)
    variance = often @ (missed * (1.0 - missed))
    for size, count, alone in zip(sizes, often, missed, strict=True):  # classes of one size are alike
        others = often - (sizes == size)
        variance = variance + count * (others @ (_missed(len(labels), sizes + size, t) - missed * alone))
    band: Curve = np.sqrt(np.maximum(variance, 0.0))
    return band


def _sizes(labels: Labels) -> tuple[Curve, Curve]:
    """The different sizes of classes (s,), and how many classes have each (s,)."""
    counts = Counter(Counter(label for label in labels if label).values())
    return np.array(sorted(counts), dtype=np.float64), np.array([counts[size] for size in sorted(counts)], dtype=float)


def _missed(total: int, sizes: Curve, t: int) -> Curve:
    """C(total − size, i) / C(total, i) (s, t): i picks of `total` rows have none of `size` given ones, i = 1…t."""
    left = total - np.arange(t, dtype=np.float64)  # rows there are at each pick
    # As a product, which loses nothing in a large collection, as logarithms of factorials do.
    return np.cumprod(np.maximum(left - sizes[:, None], 0.0) / np.maximum(left, 1.0), axis=1, dtype=np.float64)


def nauc(curve: npt.ArrayLike, classes: int, t: int) -> float:
    """nAUC_t of a discovery curve; one shorter than t counts as it is (the missing picks find nothing)."""
    reached = np.asarray(curve, dtype=np.float64)[:t]
    return float(100.0 * reached.sum() / oracle_curve(classes, t).sum()) if classes and t else 0.0


def nauc_whi2018(curve: npt.ArrayLike, classes: int, t: int) -> float | None:
    """nAUC as the script behind the 2018 paper's tables computes it: the last term of the curve is left out.

    A perfect run scores 100 · (1 − n / (n(n+1)/2 + n(t − n))), not 100. None where t < n: the script's oracle is
    not defined there.
    """
    if not classes or t < classes:
        return None
    reached = np.asarray(curve, dtype=np.float64)[: t - 1]
    return float(100.0 * reached.sum() / (classes * (classes + 1) / 2 + classes * (t - classes)))


AT = (10, 25, 50, 100, 300)
"""Picks after which tables say how many classes were found."""


def found_at(firsts: Mapping[str, int], at: Sequence[int] = AT) -> dict[int, int]:
    """How many classes were found by so many picks. firsts: class -> its first pick, from 1."""
    return {picks: sum(first <= picks for first in firsts.values()) for picks in at}


@dataclass(frozen=True, slots=True)
class Discovery:
    """A selection's discovery on a labelled collection. curve, oracle, random: (t,); firsts: class -> its first pick, from 1."""

    t: int
    classes: int
    curve: npt.NDArray[np.int64]
    oracle: npt.NDArray[np.int64]
    random: Curve
    exact: float
    whi2018: float | None
    exact_random: float
    firsts: dict[str, int]
    missed: list[str]

    def summary(self) -> dict[str, Any]:
        """Its numbers for programs: `nauc` and `classes` of a result."""
        return {
            "nauc": {"exact": self.exact, "whi2018": self.whi2018, "t": self.t, "random": self.exact_random},
            "classes": {"total": self.classes, "found": self.firsts, "missed": self.missed},
        }


def discovery(labels: Labels, picked: Sequence[int], t: int) -> Discovery:
    """Evaluate the picked rows of a collection with one label (or None) a row. t: at most the number of rows."""
    t = min(t, len(labels))
    names = [labels[row] for row in picked[:t]]
    every = sorted({label for label in labels if label})
    curve, random = discovery_curve(names), expected_random_curve(labels, t)
    firsts: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if name:
            firsts.setdefault(name, number)
    return Discovery(
        t, len(every), curve, oracle_curve(len(every), t), random,
        nauc(curve, len(every), t), nauc_whi2018(curve, len(every), t), nauc(random, len(every), t),
        firsts, [name for name in every if name not in firsts],
    )  # fmt: skip
