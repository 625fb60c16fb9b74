"""What expectations are made of: weights sum to 1, and the combination of the items seen is the expectation."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core._types import FloatArray
from interpdisc_core.archive.memory_record import MemoryRecord, ScatterSum, fit_prior
from interpdisc_core.selectors import Choice, Demud, FarthestFirst, NearestNeighbours, Prior
from interpdisc_core.selectors.seen_weights import (
    PickExpectation,
    SeenWeights,
    SeenWeightsSum,
    count_expected_neighbors,
    find_expectation_source,
)
from tests.helpers.strategies import examples, make_clusters

SELECTORS: list[Any] = [
    Demud(rank=4),
    Demud(rank=4, start="mean"),
    Demud(rank=12),
    Demud(rank=3, method="incremental"),
    Demud(rank=3, method="static"),
    Demud(variance=0.8),
    Demud(rank=4, sign="high", weights="boostlow"),
    FarthestFirst(),
    NearestNeighbours(k=3),
]


def explain_choice(
    selector: Any, choice: Choice, direction: FloatArray | None, row_count: int, prior_count: int, learned: list[int]
) -> tuple[PickExpectation, str]:
    """The expectation of a choice, and what it is made of."""
    source = find_expectation_source(selector, prior_count, len(learned))
    count = {"all rows": row_count, "prior": prior_count, "prior and learned rows": prior_count + len(learned)}[source]
    assert choice.expected is not None
    assert choice.residual is not None
    assert choice.mean is not None
    neighbors = count_expected_neighbors(selector)
    count -= neighbors is not None and source == "all rows"
    x = choice.expected + choice.residual
    return PickExpectation(x, choice.expected, choice.mean, direction, neighbors, count), source


def weigh(pick: PickExpectation, items: FloatArray, keep: int = 10_000, cut: int = 3) -> SeenWeights | None:
    """The weights of a pick, from items (n, d) added in two pieces."""
    total = SeenWeightsSum([pick], keep)
    total.add(items[:cut], first=0)
    total.add(items[cut:], first=min(cut, len(items)))
    return total.finish()[0]


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
@examples(12)
@given(st.integers(0, 99), st.sampled_from([0, 1, 25]), st.sampled_from([np.float32, np.float64]), st.booleans())
def test_the_expectation_is_the_weighted_sum_of_what_was_seen(
    selector: Any, seed: int, known: int, dtype: type, is_summary: bool
) -> None:
    values = make_clusters(60 + known, 14, seed).astype(dtype)
    rows, prior = values[known:], values[:known].astype(np.float64)
    summary = Prior.from_items(prior) if is_summary and isinstance(selector, Demud) else prior
    selection, learned, seen = selector.open(rows, summary), list[int](), 0
    for _ in range(12):
        choice = selection.peek()
        if choice is None:
            break
        direction = selection.compute_weight_direction(choice)
        if choice.expected is not None:
            pick, source = explain_choice(selector, choice, direction, len(rows), known, learned)
            others = np.delete(rows, choice.row, axis=0) if pick.neighbors is not None else rows
            items = {
                "all rows": others,
                "prior": prior,
                "prior and learned rows": np.vstack([prior, rows[learned].astype(np.float64)]),
            }[source].astype(np.float64)
            weights = weigh(pick, items)
            assert weights is not None
            assert len(weights.strongest) == (len(items) if pick.neighbors is None else min(pick.neighbors, len(items)))
            by_number = np.zeros(len(items))
            for item in weights.strongest:
                by_number[item.number] = item.value
            assert by_number.sum() == pytest.approx(1, abs=1e-9 * weights.total)
            # Written out against the definition, item by item.
            combination = sum(weight * item for weight, item in zip(by_number, items, strict=True))
            np.testing.assert_allclose(
                combination, choice.expected, rtol=0, atol=1e-9 * weights.total * np.abs(items).max()
            )
            assert weights.total == pytest.approx(np.abs(by_number).sum())
            assert weights.share == pytest.approx(1)
            distances = np.sqrt(((items - choice.expected) ** 2).sum(axis=1))
            assert [near.value for near in weights.nearest] == pytest.approx(np.sort(distances).tolist())
            seen += 1
        learned.append(choice.row)
        selection.learn(choice.row)
    assert seen >= 10


def test_a_memory_of_scatters_gives_the_weights_of_its_items() -> None:
    """More items than features: the memory keeps their scatter alone, and the items come from elsewhere."""
    values = make_clusters(400, 14, 1)
    items, rows = values[:340], values[340:]
    record = MemoryRecord.from_rows("day", items, {})
    assert record.scatter is not None
    scatter_sum = ScatterSum(14)
    scatter_sum.add_scatter(record.count, record.mean, record.scatter)
    selector = Demud(rank=5)
    selection = selector.open(rows, fit_prior(scatter_sum))
    choice = selection.peek()
    assert choice is not None
    pick, source = explain_choice(selector, choice, selection.compute_weight_direction(choice), len(rows), 340, [])
    assert source == "prior and learned rows"
    weights = weigh(pick, items, cut=100)
    assert weights is not None
    assert sum(item.value for item in weights.strongest) == pytest.approx(1)


@pytest.mark.parametrize("method", ["full", "incremental"])
def test_other_items_than_those_seen_have_no_weights(method: Any) -> None:
    values = make_clusters(80, 14, 3)
    items, rows, selector = values[:30], values[30:], Demud(rank=4, method=method)
    selection = selector.open(rows, items)
    choice = selection.peek()
    assert choice is not None
    pick, _ = explain_choice(selector, choice, selection.compute_weight_direction(choice), len(rows), 30, [])
    assert weigh(pick, items) is not None
    assert weigh(pick, items[:-1]) is None
    assert weigh(replace(pick, count=29), items[:-1]) is None
    assert weigh(pick, np.vstack([items[:-1], rows[:1]])) is None
    assert weigh(replace(pick, expected=pick.expected + 1e-3 * np.abs(items).max()), items) is None
    assert pick.direction is not None
    assert weigh(replace(pick, direction=1.01 * pick.direction), items) is None


def test_only_the_strongest_are_kept_with_their_share() -> None:
    values = make_clusters(80, 14, 3)
    items, rows, selector = values[:30], values[30:], Demud(rank=4)
    selection = selector.open(rows, items)
    choice = selection.peek()
    assert choice is not None
    pick, _ = explain_choice(selector, choice, choice.weight_direction, len(rows), 30, [])
    whole, part = weigh(pick, items), weigh(pick, items, keep=5)
    assert whole is not None
    assert part is not None
    assert part.strongest == whole.strongest[:5]
    assert part.nearest == whole.nearest[:5]
    assert part.total == pytest.approx(whole.total)
    assert part.share == pytest.approx(sum(abs(item.value) for item in part.strongest) / part.total)
    assert part.share < 1


def test_items_added_to_one_pick_alone_count_for_it_alone() -> None:
    values = make_clusters(60, 14, 5)
    items, rows, selector = values[:20], values[20:], Demud(rank=4)
    selection, picks = selector.open(rows, items), []
    learned: list[int] = []
    for _ in range(3):
        choice = selection.peek()
        assert choice is not None
        picks.append(explain_choice(selector, choice, choice.weight_direction, len(rows), 20, learned)[0])
        learned.append(choice.row)
        selection.learn(choice.row)
    total = SeenWeightsSum(picks, keep=4)
    total.add(items, first=0)
    for index in range(3):
        total.add(rows[learned[:index]], first=20, only=index)
    apart = [weigh(pick, np.vstack([items, rows[learned[:index]]]), keep=4) for index, pick in enumerate(picks)]
    for together, alone in zip(total.finish(), apart, strict=True):
        assert together is not None
        assert alone is not None
        assert [item.number for item in together.strongest] == [item.number for item in alone.strongest]
        np.testing.assert_allclose(
            [item.value for item in together.strongest], [item.value for item in alone.strongest], rtol=1e-9
        )
