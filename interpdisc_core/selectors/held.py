"""Rows that a selector holds in memory, all of them as float64: read and checked, put in order, compared."""

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.rows import BLOCK, Features, Floats, Index, Rows, as_rows, blocks
from interpdisc_core.selectors.seen import Seen

_AT_ONCE = 1 << 22
"""Numbers that are looked at together where each row is held against several: 32 MB."""


def held(features: Features | Rows) -> Floats:
    """All rows (N, d), float64, exact and in C order; a copy. Raises PlanError for a value that is not finite."""
    rows = as_rows(features)
    values = np.empty(rows.shape)
    for at, block in blocks(rows):
        values[at] = block
    _finite(values, "row")
    return values


def items_of(prior: Floats | Seen, dimension: int, kind: str) -> Floats:
    """The items that were seen (n0, d), float64; n0 is 0 where there were none.

    Raises PlanError for a summary of any, for items of another width than `dimension`, and as `held` does.
    """
    if isinstance(prior, Seen) and prior.count:
        raise PlanError(
            f"{kind}: it needs the items that were seen, not their summary; give them as a background, "
            "or take a selector that a summary suffices (demud, rx)."
        )
    items = np.empty((0, dimension)) if isinstance(prior, Seen) else np.ascontiguousarray(prior, dtype=np.float64)
    if len(items):
        fitting(items.shape[1], dimension)
    _finite(items, "the background's row")
    return items


def fitting(background: int, dimension: int) -> None:
    """Raises PlanError where a background is of another width than the rows."""
    if background != dimension:
        raise PlanError(f"the background has {background} features, the rows {dimension}.")


def ordered(values: Floats) -> Index:
    """An order (N,) of rows (N, d) that depends on their values alone; equal rows stay in theirs.

    What is fitted to rows in this order is the same to the bit in whatever order they are given.
    """
    if not values.size:
        return np.arange(len(values))
    # + 0.0 makes −0 the 0 that it equals. By bytes, which is as good as any order and fast.
    whole = np.ascontiguousarray(values + 0.0).view(np.dtype((np.void, 8 * values.shape[1])))[:, 0]
    return np.argsort(whole, kind="stable")


def by_value(values: Floats, score: Callable[[Floats], Floats]) -> Floats:
    """Scores (N,) of rows (N, d), each distinct row scored once, in blocks and in `ordered` order.

    So equal rows have equal scores, and no score depends on where a row is. score: rows (m, d) to (m,).
    """
    order = ordered(values)
    there = values[order]
    new = np.ones(len(there), dtype=bool)
    new[1:] = (there[1:] != there[:-1]).any(axis=1)
    once = there[new]
    found = np.empty(len(once))
    for first in range(0, len(once), BLOCK):
        found[first : first + BLOCK] = score(once[first : first + BLOCK])
    scores = np.empty(len(values))
    scores[order] = found[np.cumsum(new) - 1]
    return scores


def in_parts(count: int, size: int) -> list[slice]:
    """`count` rows in parts, where each takes `size` numbers: about 32 MB at once."""
    step = max(1, _AT_ONCE // max(size, 1))
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


# One thread, as everywhere that a last bit could depend on how many there are.
@threadpool_limits.wrap(limits=1)  # type: ignore[untyped-decorator]
def nearest(values: Floats, among: Floats | None, count: int) -> Index:
    """The nearest items of `among` (n0, d) to each row (N, d): their numbers (N, k); None for the other rows.

    k is `count`, or as many as there are. Which of two that are as near as rounding can tell is left open.
    """
    from sklearn.neighbors import NearestNeighbors

    others = len(values) - 1 if among is None else len(among)
    if not len(values) or others < 1:
        return np.empty((len(values), 0), dtype=np.intp)
    if not values.shape[1]:  # no features: all are alike
        values, among = np.zeros((len(values), 1)), None if among is None else np.zeros((len(among), 1))
    # scikit-learn has distances from products; about the mean these lose the least.
    centre = (values if among is None else among).mean(axis=0)
    search = NearestNeighbors(n_neighbors=min(count, others), algorithm="brute")
    search.fit((values if among is None else among) - centre)
    found = search.kneighbors(None if among is None else values - centre, return_distance=False)
    return np.asarray(found, dtype=np.intp)


def squared_to(values: Floats, among: Floats, which: Index) -> Floats:
    """|x − y|² (N, k) between each row x (N, d) and the items y of `among` (n0, d) that `which` (N, k) names; literal."""
    squares = np.empty(which.shape)
    for part in in_parts(len(values), which.shape[1] * values.shape[1]):
        z = values[part, None] - among[which[part]]
        squares[part] = np.einsum("nkd,nkd->nk", z, z)
    return squares


def _finite(values: Floats, name: str) -> None:
    for first in range(0, len(values), BLOCK):
        bad = ~np.isfinite(values[first : first + BLOCK])
        if bad.any():
            row, feature = (int(i) for i in np.argwhere(bad)[0])
            value = values[first + row, feature]
            raise PlanError(f"{name} {first + row} has no finite value in feature {feature} ({value}): leave it out.")
