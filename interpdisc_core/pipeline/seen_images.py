"""The images seen before each pick of a run: the nearest ones, and those that its expectation is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from interpdisc_core._types import FloatArray
from interpdisc_core.archive.run import Composition, NearImage, Run, RunMember, WeightedImage
from interpdisc_core.selectors import Demud, Selector
from interpdisc_core.selectors.neighbors import compute_pairwise_distances
from interpdisc_core.selectors.rows import Rows, gather_float64, iter_blocks
from interpdisc_core.selectors.seen_weights import (
    ExpectationSource,
    PickExpectation,
    SeenWeights,
    SeenWeightsSum,
    count_expected_neighbors,
    find_expectation_source,
)

NEAREST_COUNT = 3
"""Nearest images of a pick."""
STRONGEST_COUNT = 8
"""Images of largest weight that are kept of a pick's expectation."""


@dataclass(frozen=True, slots=True)
class SeenImages:
    """What a run's selection had seen besides its own picks.

    Attributes:
        candidates: The images to pick from.
        rows: (n, d) their features, normalized as the plan says.
        background: Images that were known before.
        background_values: (n0, d) their features.
        known_rows: Candidates that were learned before the first pick.
        has_memory: Whether records of a memory, or images that people called boring, were seen too.
    """

    candidates: Sequence[RunMember]
    rows: Rows
    background: Sequence[RunMember]
    background_values: FloatArray
    known_rows: Sequence[int]
    has_memory: bool


def find_nearest(seen: SeenImages, picked_rows: Sequence[int]) -> list[tuple[NearImage, ...]]:
    """For each pick the nearest images seen before it: background and earlier picks."""
    members, values = [seen.candidates[row] for row in picked_rows], _gather(seen, picked_rows)
    images = [_as_near(member, "background") for member in seen.background]
    images += [_as_near(member, f"pick {rank}") for rank, member in enumerate(members, start=1)]
    all_values = np.vstack([seen.background_values, values])
    result = []
    for index in range(len(members)):
        distance = compute_pairwise_distances(values[index][None], all_values[: len(seen.background) + index])[0]
        nearest = np.argsort(distance, kind="stable")[:NEAREST_COUNT]
        result.append(tuple(replace(images[i], distance=float(distance[i])) for i in nearest))
    return result


def compose_expectations(run: Run, seen: SeenImages, picked_rows: Sequence[int]) -> list[Composition | None]:
    """What the expectation of each pick is made of.

    None where the selector's expectation is not made of images, where an earlier version made the pick, or where part of
    what was seen is in a memory of records: then the caller has its images.

    Raises:
        DamageError: If the vectors of a pick are damaged.
    """
    compositions: list[Composition | None] = [None] * len(picked_rows)
    if seen.has_memory:
        return compositions
    selector = run.plan.selector
    learned_counts, learned_rows = _count_learned(selector, seen, picked_rows)
    learned_values = _gather(seen, learned_rows)
    by_source: dict[ExpectationSource, dict[int, PickExpectation]] = {}
    for index, vectors in enumerate(run.load_vectors(len(picked_rows))):
        source, expectation = build_expectation(
            selector, vectors, len(seen.background), learned_counts[index], len(seen.candidates)
        )
        if expectation is not None:
            by_source.setdefault(source, {})[index] = expectation
    for source, expectations in by_source.items():
        total = SeenWeightsSum(list(expectations.values()), STRONGEST_COUNT)
        if source == "all rows":
            images = [(member, "candidate") for member in seen.candidates]
            for block_slice, values in iter_blocks(seen.rows):
                _add_candidates(total, expectations, block_slice, values, picked_rows)
        else:
            images = [(member, "background") for member in seen.background]
            total.add(seen.background_values, first=0)
        if source == "prior and learned rows":
            rank_by_row = {row: rank for rank, row in enumerate(picked_rows, start=1)}
            images += [
                (seen.candidates[row], f"pick {rank_by_row[row]}" if row in rank_by_row else "known")
                for row in learned_rows
            ]
            for number, index in enumerate(expectations):
                total.add(learned_values[: learned_counts[index]], first=len(seen.background), only=number)
        for index, weights in zip(expectations, total.finish(), strict=True):
            if weights is not None:
                compositions[index] = _describe_weights(weights, expectations[index].count, images)
    return compositions


def build_expectation(
    selector: Selector, vectors: FloatArray, prior_count: int, learned_count: int, candidate_count: int
) -> tuple[ExpectationSource, PickExpectation | None]:
    """What a pick's expectation is made of, and how; None if it is not made of images.

    Args:
        selector: Settings of the selection.
        vectors: x, x̂, μ and the direction of weights (4, d).
        prior_count: Images seen before the selection began.
        learned_count: Candidates that were learned before the pick.
        candidate_count: All candidates.
    """
    source = find_expectation_source(selector, prior_count, learned_count)
    neighbors = count_expected_neighbors(selector)
    counts = {"all rows": candidate_count, "prior": prior_count, "prior and learned rows": prior_count + learned_count}
    x, expected, mean, direction = vectors
    has_direction = not np.isnan(direction).any()
    if np.isnan(expected).any() or (neighbors is None and not has_direction):
        return source, None
    # A row is not its own neighbor.
    count = counts[source] - (neighbors is not None and source == "all rows")
    if not count:
        return source, None
    return source, PickExpectation(x, expected, mean, direction if has_direction else None, neighbors, count)


def _count_learned(selector: Selector, seen: SeenImages, picked_rows: Sequence[int]) -> tuple[list[int], list[int]]:
    """For each pick, how many candidates were learned before it; and all candidates that were learned, in order."""
    learned_rows, counts = list(seen.known_rows), []
    interest = selector.interest if isinstance(selector, Demud) else ""
    for row in picked_rows:
        counts.append(len(learned_rows))
        # A pick of the class of interest is not learned; see `Demud.interest`.
        if not interest or interest not in (seen.candidates[row].label or ""):
            learned_rows.append(row)
    return counts, learned_rows


def _add_candidates(
    total: SeenWeightsSum,
    expectations: dict[int, PickExpectation],
    block_slice: slice,
    values: FloatArray,
    picked_rows: Sequence[int],
) -> None:
    """Add a block of candidates to all picks, but to a pick of neighbors not itself."""
    if all(expectation.neighbors is None for expectation in expectations.values()):
        total.add(values, first=block_slice.start)
        return
    for number, (index, expectation) in enumerate(expectations.items()):
        position = picked_rows[index] - block_slice.start
        if expectation.neighbors is None or not 0 <= position < len(values):
            total.add(values, first=block_slice.start, only=number)
        else:
            total.add(values[:position], first=block_slice.start, only=number)
            total.add(values[position + 1 :], first=block_slice.start + position + 1, only=number)


def _describe_weights(weights: SeenWeights, count: int, images: Sequence[tuple[RunMember, str]]) -> Composition:
    strongest = []
    for item in weights.strongest:
        member, role = images[item.number]
        strongest.append(WeightedImage(member.id, member.uri, member.sha256, role, item.value))
    nearest = tuple(
        replace(_as_near(*images[item.number]), distance=item.value) for item in weights.nearest[:NEAREST_COUNT]
    )
    return Composition(count, tuple(strongest), weights.share, weights.total, nearest)


def _as_near(member: RunMember, role: str) -> NearImage:
    return NearImage(member.id, member.uri, member.sha256, role, 0.0)


def _gather(seen: SeenImages, rows: Sequence[int]) -> FloatArray:
    return gather_float64(seen.rows, np.array(rows, dtype=np.intp)).reshape(len(rows), seen.rows.shape[1])
