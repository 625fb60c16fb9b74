"""Helpers of selectors that hold all rows in memory as float64: loading, checking, ordering, chunking."""

from collections.abc import Callable

import numpy as np

from interpdisc_core._types import AnyArray, FloatArray, IndexArray
from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.selectors.rows import (
    BLOCK_ROWS,
    MIN_MAGNITUDE,
    Rows,
    as_rows,
    describe_tiny_rows,
    find_value_fault,
    iter_blocks,
)

_CHUNK_VALUES = 1 << 22
"""Numbers held at a time where each row is compared with several others: 32 MB of float64."""


def load_rows(features: AnyArray | Rows) -> FloatArray:
    """All rows (N, d) as an exact float64 copy in C order. Raises PlanError if a value is not finite or out of range."""
    rows = as_rows(features)
    values = np.empty(rows.shape)
    for block_slice, block in iter_blocks(rows):
        values[block_slice] = block
    _check_values(values, "row")
    if 0 < np.abs(values).max(initial=0.0) < MIN_MAGNITUDE:
        raise PlanError(describe_tiny_rows(rows, np.zeros(rows.shape[1])))
    return values


def load_prior_items(prior: FloatArray | Prior, dimension: int, kind: str) -> FloatArray:
    """The items of a prior (n0, d), float64; n0 is 0 if the prior is empty.

    Args:
        prior: Items (n0, d), or their summary, which must be empty.
        dimension: d of the rows.
        kind: Name of the selector, for the error.

    Raises:
        PlanError: If the prior is a summary of items, has another width than `dimension`, or has a value that is not
            finite.
    """
    if isinstance(prior, Prior) and prior.count:
        raise PlanError(
            f"{kind}: it needs the items of the background, not their summary; give the items, "
            "or choose a selector for which a summary suffices (demud, rx)."
        )
    items = np.empty((0, dimension)) if isinstance(prior, Prior) else np.ascontiguousarray(prior, dtype=np.float64)
    if len(items):
        check_dimension(items.shape[1], dimension)
    _check_values(items, "the background's row")
    return items


def check_dimension(background_dimension: int, dimension: int) -> None:
    """Raises PlanError if the background has another number of features than the rows."""
    if background_dimension != dimension:
        raise PlanError(f"the background has {background_dimension} features, the rows {dimension}.")


def canonical_order(values: FloatArray) -> IndexArray:
    """A permutation (N,) that sorts rows (N, d) by their values alone; equal rows keep their order.

    A model fitted to rows in this order has the same bits in whatever order the rows are given.
    """
    if not values.size:
        return np.arange(len(values))
    # + 0.0 turns −0 into the 0 that it equals. Sorting bytes is fast, and any fixed order will do.
    row_bytes = np.ascontiguousarray(values + 0.0).view(np.dtype((np.void, 8 * values.shape[1])))[:, 0]
    return np.argsort(row_bytes, kind="stable")


def score_unique_rows(values: FloatArray, score_rows: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Scores (N,) of rows (N, d); each distinct row is scored once, in blocks and in `canonical_order`.

    So equal rows have equal scores, and no score depends on the position of a row.

    Args:
        values: Rows (N, d).
        score_rows: Rows (m, d) to scores (m,).
    """
    order = canonical_order(values)
    sorted_rows = values[order]
    is_new = np.ones(len(sorted_rows), dtype=bool)
    is_new[1:] = (sorted_rows[1:] != sorted_rows[:-1]).any(axis=1)
    unique_rows = sorted_rows[is_new]
    unique_scores = np.empty(len(unique_rows))
    for first in range(0, len(unique_rows), BLOCK_ROWS):
        unique_scores[first : first + BLOCK_ROWS] = score_rows(unique_rows[first : first + BLOCK_ROWS])
    scores = np.empty(len(values))
    scores[order] = unique_scores[np.cumsum(is_new) - 1]
    return scores


def chunk_slices(count: int, values_per_row: int) -> list[slice]:
    """Slices that cover `count` rows, each of about 32 MB if a row takes `values_per_row` numbers."""
    step = max(1, _CHUNK_VALUES // max(values_per_row, 1))
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def _check_values(values: FloatArray, name: str) -> None:
    for first in range(0, len(values), BLOCK_ROWS):
        if fault := find_value_fault(values[first : first + BLOCK_ROWS]):
            raise PlanError(f"{name} {first + fault.row} {fault.text}.")
