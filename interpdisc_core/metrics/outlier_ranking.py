"""How well a selection ranks rows that are known to be novel before all others.

All measures are of the picks in their order; higher is better. Each has its exact expectation for a random order.
There may be fewer picks than rows: rows that were not picked count as ranked last, in random order.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class OutlierScores:
    """Scores of a ranking; a measure is None if it is not defined, see the function of its name.

    The fields ending in `_random` are the exact expectations for a random order; that of roc_auc is 0.5.

    Attributes:
        novel: Novel rows in the collection.
        found: Novel rows among the picks.
        precision: Share of novel rows among as many picks as there are novel rows, 0 to 1.
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

    def as_dict(self) -> dict[str, float | None]:
        """Its numbers by name."""
        return asdict(self)


def score_outliers(novel: npt.ArrayLike, picks: Sequence[int]) -> OutlierScores:
    """Score the picked rows of a collection. MDR is over all picks.

    Args:
        novel: Whether each row of the collection is novel (N,).
        picks: Rows in the order in which they were picked.

    Raises:
        ValueError: If a row is picked twice.
    """
    novel = np.asarray(novel, dtype=bool)
    if len(set(picks)) != len(picks):
        raise ValueError(f"a row is picked twice: {len(picks)} picks of {len(set(picks))} rows")
    order = novel[np.asarray(picks, dtype=np.intp)]
    count, rows, selections = int(novel.sum()), len(novel), len(order)
    roc, average = ranking_scores(novel, picks)
    return OutlierScores(
        count,
        int(order.sum()),
        precision_at(order, count),
        expected_precision(count, rows),
        mdr(order),
        expected_mdr(count, rows, selections),
        mdr_attainable(order, count),
        expected_mdr_attainable(count, rows, selections),
        roc,
        average,
        expected_average_precision(count, rows),
    )


def precision_at(novel_in_pick_order: npt.ArrayLike, n: int) -> float:
    """P@n: the share of novel rows among the first n picks, 0 to 1. With n the number of novel rows, 1 is attainable.

    Picks that are missing count as finding nothing. 0 for n = 0.
    """
    order = np.asarray(novel_in_pick_order, dtype=bool)
    return float(order[:n].sum() / n) if n else 0.0


def expected_precision(novel: int, rows: int) -> float:
    """P@n of a random order, for any n up to the number of rows: the share of novel rows; 0 without rows."""
    return novel / rows if rows else 0.0


def mdr(novel_in_pick_order: npt.ArrayLike) -> float | None:
    """DORA's mean detection rate: Σ_{i=1..M} f(i) over Σ_{i=0..M−1} i, with f(i) the novel rows among i of M picks.

    The denominator is nearly, not exactly, the area of an oracle that finds a novel row at every pick: Σ 1…M is
    (M + 1)/(M − 1) times as large. If M exceeds the number of novel rows, less than 1 is attainable: about p(2 − p) with
    a share p of them. So compare values over the same collection only, or use `mdr_attainable`. None for fewer than
    two picks.

    Source: Kerner et al. 2022, "Domain-agnostic outlier ranking algorithms", and its `combined_plot_script.py`.
    """
    order = np.asarray(novel_in_pick_order, dtype=bool)
    selections = len(order)
    return float(2.0 * np.cumsum(order).sum() / (selections * (selections - 1))) if selections > 1 else None


def expected_mdr(novel: int, rows: int, selections: int) -> float | None:
    """Expected `mdr` of M selections in a random order: with E f(i) = i K/N it is K/N · (M + 1)/(M − 1)."""
    return novel / rows * (selections + 1) / (selections - 1) if selections > 1 else None


def mdr_attainable(novel_in_pick_order: npt.ArrayLike, novel: int) -> float | None:
    """The area under f(i), see `mdr`, over that of an oracle that picks the novel rows first, Σ min(i, K): 0 to 1.

    None without novel rows, or without picks.

    Example:
        >>> mdr_attainable([True, False, True], novel=2)
        0.8
    """
    order = np.asarray(novel_in_pick_order, dtype=bool)
    best = int(np.minimum(np.arange(1, len(order) + 1), novel).sum())
    return float(np.cumsum(order).sum() / best) if best else None


def expected_mdr_attainable(novel: int, rows: int, selections: int) -> float | None:
    """Expected `mdr_attainable` of M selections in a random order; None as there."""
    best = int(np.minimum(np.arange(1, selections + 1), novel).sum())
    return novel / rows * selections * (selections + 1) / 2 / best if best else None


def ranking_scores(novel: npt.ArrayLike, picks: Sequence[int]) -> tuple[float | None, float | None]:
    """Area under the ROC curve and average precision (not interpolated) of the ranking: both 0 to 1.

    Rows that were not picked are ranked last, and both scores are the exact expectation over the orders of these. For
    ROC that is the midrank, as scikit-learn counts ties; for average precision it differs: scikit-learn takes tied
    rows as one step, with the precision at its end. If all rows are picked, both equal scikit-learn's.

    Args:
        novel: Whether each row of the collection is novel (N,).
        picks: Rows in the order in which they were picked.

    Returns:
        ROC AUC, None if all rows are novel or none is; and average precision, None if no row is novel.
    """
    novel = np.asarray(novel, dtype=bool)
    rows, count, pick_count = len(novel), int(novel.sum()), len(picks)
    if not count:
        return None, None
    ranks = np.full(rows, pick_count + (rows - pick_count + 1) / 2)  # the midrank of the rows that were not picked
    ranks[np.asarray(picks, dtype=np.intp)] = np.arange(1, pick_count + 1)
    roc = None
    if count < rows:
        roc = 1.0 - (ranks[novel].sum() - count * (count + 1) / 2) / (count * (rows - count))
    order = novel[np.asarray(picks, dtype=np.intp)]
    found_count, remaining = int(order.sum()), count - int(order.sum())
    precisions = np.cumsum(order)[order] / (np.flatnonzero(order) + 1)
    total = precisions.sum() + _expected_precision_sum(remaining, rows - pick_count, found_count, pick_count)
    return None if roc is None else float(roc), float(total / count)


def expected_average_precision(novel: int, rows: int) -> float | None:
    """Average precision of a random order: Σ_{i=1..N} (1 + (i − 1)(K − 1)/(N − 1)) / (i N). None if none is novel."""
    return float(_expected_precision_sum(novel, rows, 0, 0) / novel) if novel else None


def _expected_precision_sum(novel: int, rows: int, found_before: int, rows_before: int) -> float:
    """The expected sum of the precisions at novel rows in a random order of `rows` rows, of which `novel` are novel.

    They come after `rows_before` rows, of which `found_before` are novel. A row at position j is novel with probability
    K/N; if it is, (j − 1)(K − 1)/(N − 1) of the j − 1 rows before it are.
    """
    if not novel:
        return 0.0
    position = np.arange(rows)  # j − 1
    expected_earlier_novel = position * (novel - 1) / max(rows - 1, 1)
    return float((novel / rows * (found_before + 1 + expected_earlier_novel) / (rows_before + 1 + position)).sum())
