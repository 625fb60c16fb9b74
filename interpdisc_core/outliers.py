"""How well a selection finds images of classes that are named as novel, when it is known which are.

All measures are of the picks in their order. Higher is better. Each comes with its exact expectation under a random
order. Picks may be fewer than the rows: rows that were not picked come after all that were, in no order.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Novel = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Outliers:
    """What `outliers` found. precision: at `novel` picks. None where a measure is not defined, as its function says.

    found: novel rows among the picks. The *_random ones are what a random order scores in expectation, exactly; of
    roc_auc that is 0.5.
    """

    novel: int
    found: int
    precision: float
    precision_random: float
    mdr: float | None
    mdr_random: float | None
    mdr_attainable: float | None
    mdr_attainable_random: float | None
    roc_auc: float | None
    average_precision: float | None
    average_precision_random: float | None

    def summary(self) -> dict[str, float | None]:
        """Its numbers for programs."""
        return asdict(self)


def outliers(novel: npt.ArrayLike, picked: Sequence[int]) -> Outliers:
    """Evaluate the picked rows of a collection where it is known of each row whether it is novel (N,).

    MDR is over as many selections as there are picks. Raises ValueError for a row that is picked twice.
    """
    novel = np.asarray(novel, dtype=bool)
    if len(set(picked)) != len(picked):
        raise ValueError("a row is picked twice")
    order = novel[np.asarray(picked, dtype=np.intp)]
    count, rows, selections = int(novel.sum()), len(novel), len(order)
    roc, average = ranking_scores(novel, picked)
    return Outliers(
        count, int(order.sum()), precision_at(order, count), expected_precision(count, rows),
        mdr(order), expected_mdr(count, rows, selections),
        mdr_attainable(order, count), expected_mdr_attainable(count, rows, selections),
        roc, average, expected_average_precision(count, rows),
    )  # fmt: skip


def precision_at(novel_in_pick_order: npt.ArrayLike, n: int) -> float:
    """P@n: the share of novel rows among the first n picks, 0 to 1. With n the number of novel rows, 1 is attainable.

    Picks that were not made found nothing. 0 for n = 0.
    """
    order = np.asarray(novel_in_pick_order, dtype=bool)
    return float(order[:n].sum() / n) if n else 0.0


def expected_precision(novel: int, rows: int) -> float:
    """P@n of a random order, for any n up to the number of rows: the share of novel ones. 0 where there are no rows."""
    return novel / rows if rows else 0.0


def mdr(novel_in_pick_order: npt.ArrayLike) -> float | None:
    """MDR as DORA has it: the area Σ_{i=1..M} f(i) under known outliers found f(i) after i of M selections, over Σ 0…M−1.

    That is nearly, not exactly, the area of an oracle that finds an outlier at every selection: Σ 1…M is (M + 1)/(M − 1)
    times as much. What can be attained is less where M exceeds the number of outliers: about p(2 − p) with a share p of
    them, so compare only over the same collection, or use `mdr_attainable`. None for less than two selections.
    Kerner et al. 2022, "Domain-agnostic outlier ranking algorithms", and its `combined_plot_script.py`.
    """
    order = np.asarray(novel_in_pick_order, dtype=bool)
    selections = len(order)
    return float(2.0 * np.cumsum(order).sum() / (selections * (selections - 1))) if selections > 1 else None


def expected_mdr(novel: int, rows: int, selections: int) -> float | None:
    """`mdr` of so many selections in a random order: with E f(i) = i K/N it is K/N · (M + 1)/(M − 1)."""
    return novel / rows * (selections + 1) / (selections - 1) if selections > 1 else None


def mdr_attainable(novel_in_pick_order: npt.ArrayLike, novel: int) -> float | None:
    """The area under f(i) over that of an oracle that finds the novel rows first, Σ min(i, K): 1 is attainable.

    None where there are no novel rows, or no selections.
    """
    order = np.asarray(novel_in_pick_order, dtype=bool)
    best = int(np.minimum(np.arange(1, len(order) + 1), novel).sum())
    return float(np.cumsum(order).sum() / best) if best else None


def expected_mdr_attainable(novel: int, rows: int, selections: int) -> float | None:
    """`mdr_attainable` of so many selections in a random order. None as there."""
    best = int(np.minimum(np.arange(1, selections + 1), novel).sum())
    return novel / rows * selections * (selections + 1) / 2 / best if best else None


def ranking_scores(novel: npt.ArrayLike, picked: Sequence[int]) -> tuple[float | None, float | None]:
    """Area under the ROC curve and average precision (not interpolated) of the ranking: both 0 to 1.

    Rows that were not picked are last, in no order, and both are the exact expectation over their orders. For ROC that
    is the midrank, by which scikit-learn counts ties too; for average precision it is not: scikit-learn takes tied rows
    as one step, with the precision at its end. Without ties both are scikit-learn's. ROC is None where all rows are
    novel or none is; average precision where none is.
    """
    novel = np.asarray(novel, dtype=bool)
    rows, count, made = len(novel), int(novel.sum()), len(picked)
    if not count:
        return None, None
    place = np.full(rows, made + (rows - made + 1) / 2)  # the midrank of those that are left
    place[np.asarray(picked, dtype=np.intp)] = np.arange(1, made + 1)
    roc = None
    if count < rows:
        roc = 1.0 - (place[novel].sum() - count * (count + 1) / 2) / (count * (rows - count))
    order = novel[np.asarray(picked, dtype=np.intp)]
    found, left = int(order.sum()), count - int(order.sum())
    precisions = np.cumsum(order)[order] / (np.flatnonzero(order) + 1)
    total = precisions.sum() + _steps(left, rows - made, found, made)
    return None if roc is None else float(roc), float(total / count)


def expected_average_precision(novel: int, rows: int) -> float | None:
    """Average precision of a random order: Σ_{i=1..N} (1 + (i − 1)(K − 1)/(N − 1)) / (i N). None without novel rows."""
    return float(_steps(novel, rows, 0, 0) / novel) if novel else None


def _steps(novel: int, rows: int, found: int, before: int) -> float:
    """The expected sum of the precisions at novel rows among `rows` in random order, after `before` with `found` novel.

    At place j a row is novel with K/N; given that it is, (j − 1)(K − 1)/(N − 1) of the j − 1 before it are.
    """
    if not novel:
        return 0.0
    earlier = np.arange(rows)  # j − 1
    others = earlier * (novel - 1) / max(rows - 1, 1)
    return float((novel / rows * (found + 1 + others) / (before + 1 + earlier)).sum())
