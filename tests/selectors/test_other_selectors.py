"""The selectors other than DEMUD: each compared with its definition, and with and without a prior."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.metrics.discovery import evaluate_discovery
from interpdisc_core.selectors import (
    Autoencoder,
    Choice,
    FarthestFirst,
    IsolationForest,
    LocalRx,
    NearestNeighbours,
    Oracle,
    Prior,
    Rx,
    SelectorLike,
    _in_memory,
)
from tests.helpers.strategies import (
    comparable_choices,
    draw_features,
    examples,
    rows_of,
    run_selector,
    store_values,
    take_picks,
)

Floats = npt.NDArray[np.float64]

SELECTORS: list[SelectorLike] = [
    FarthestFirst(),
    NearestNeighbours(k=3),
    IsolationForest(trees=10),
    Rx(),
    Rx(shrink=0.0),
    LocalRx(neighbours=6),
    Autoencoder(rank=2, hidden=8, epochs=3),
]
over_selectors = pytest.mark.parametrize("selector", SELECTORS, ids=repr)
RANK_ONCE = SELECTORS[1:]
NO_ITEMS = np.empty((0, 5))


def scores_of(selector: SelectorLike, values: npt.NDArray[Any], prior: Floats | Prior | None = None) -> Floats:
    """Scores (N,) of all rows, by row; for selectors that rank them once."""
    scores = np.full(len(values), np.nan)
    for choice in run_selector(selector, values, prior):
        scores[choice.row] = choice.score
    return scores


def normal(rows: int, dimension: int, seed: int = 0) -> Floats:
    """Normal rows with a falling spectrum, away from the origin."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, dimension)) * np.geomspace(3, 0.1, dimension) + 10 * rng.normal(size=dimension)


# All that rank once


@pytest.mark.parametrize("selector", RANK_ONCE, ids=repr)
@given(data=st.data())
def test_all_rows_are_ranked_by_falling_score(selector: SelectorLike, data: st.DataObject) -> None:
    """For data of every kind: the lowest row comes first among equal scores, near ties are the rows that follow with the
    same score, and equal rows have equal scores."""
    values, prior = data.draw(draw_features())
    choices = run_selector(selector, values, prior)
    assert sorted(rows_of(choices)) == list(range(len(values)))
    keys = [(-choice.score, choice.row) for choice in choices]
    assert keys == sorted(keys)
    for number, choice in enumerate(choices):
        assert np.isfinite(choice.score)
        assert choice.score >= 0
        assert choice.near_ties == sum(other.score == choice.score for other in choices[number + 1 :])
    scores = np.empty(len(values))
    scores[rows_of(choices)] = [choice.score for choice in choices]
    _, group_numbers = np.unique(values, axis=0, return_inverse=True)
    for group in range(group_numbers.max() + 1):
        of_equal_rows = scores[group_numbers == group]
        np.testing.assert_allclose(of_equal_rows, of_equal_rows[0], rtol=1e-6, atol=1e-9 * (scores.max() + 1e-12))


@pytest.mark.parametrize("selector", [s for s in RANK_ONCE if not isinstance(s, LocalRx | NearestNeighbours)], ids=repr)
@pytest.mark.parametrize("known", [0, 40])
def test_a_fitted_model_does_not_depend_on_the_order_of_rows(selector: SelectorLike, known: int) -> None:
    """Rows and prior in another order have the same scores, to the bit, and so have copies of rows."""
    whole = normal(60 + known, 7).astype(np.float32)
    values, prior = whole[known:], whole[:known].astype(np.float64)
    order = np.random.default_rng(1).permutation(60)
    expected = scores_of(selector, values, prior)
    np.testing.assert_array_equal(scores_of(selector, values[order], prior[::-1]), expected[order])
    if known:
        twice = scores_of(selector, np.vstack([values, values]), prior)
        np.testing.assert_allclose(twice, np.tile(expected, 2), rtol=1e-12)
        np.testing.assert_array_equal(twice[:60], twice[60:])


@over_selectors
def test_the_type_that_holds_the_values_does_not_matter(selector: SelectorLike) -> None:
    coarse = np.random.default_rng(3).integers(-40, 40, (25, 6)).astype(np.int8)
    expected = comparable_choices(run_selector(selector, coarse.astype(np.float64)))
    for dtype in (np.float16, np.float32, np.int8):
        assert comparable_choices(run_selector(selector, coarse.astype(dtype))) == expected


@over_selectors
@pytest.mark.parametrize("store", ["zarr 3", "permuted", "column-major"])
def test_rows_of_any_store_give_the_picks_of_the_array(selector: SelectorLike, store: str) -> None:
    stored = store_values(normal(23, 5), "float32")
    choices = run_selector(selector, stored.rows(store))
    assert comparable_choices(choices) == comparable_choices(run_selector(selector, stored.array))


@over_selectors
def test_only_rx_accepts_a_summary_as_prior(selector: SelectorLike) -> None:
    """Selectors that need the items say so; an empty summary is no prior."""
    values, prior = normal(20, 5), normal(9, 5, 1)
    expected = comparable_choices(run_selector(selector, values))
    assert comparable_choices(run_selector(selector, values, Prior.empty(5))) == expected
    if isinstance(selector, Rx):
        scores = scores_of(selector, values, Prior.from_items(prior))
        np.testing.assert_allclose(scores, scores_of(selector, values, prior), rtol=1e-10)
    else:
        with pytest.raises(PlanError, match=f"{selector.kind}: it needs the items of the background"):
            selector.open(values, Prior.from_items(prior))


@over_selectors
def test_a_background_of_another_width_or_with_a_value_that_is_not_finite_is_refused(selector: SelectorLike) -> None:
    values = normal(8, 5)
    with pytest.raises(PlanError, match="the background has 4 features, the rows 5"):
        selector.open(values, normal(3, 4))
    prior = normal(6, 5, 1)
    prior[4, 2] = np.nan
    with pytest.raises(PlanError, match="the background's row 4 has no finite value in feature 2"):
        selector.open(values, prior)


def test_a_summary_of_another_width_is_refused() -> None:
    with pytest.raises(PlanError, match="the background has 4 features, the rows 5"):
        Rx().open(normal(8, 5), Prior.from_items(normal(3, 4)))


@over_selectors
@pytest.mark.parametrize("row", [-1, 8])
def test_a_row_that_does_not_exist_is_refused(selector: SelectorLike, row: int) -> None:
    """Negative numbers do not count from the end."""
    with pytest.raises(ValueError, match=f"row {row} is not one of the 8"):
        selector.open(normal(8, 5), np.empty((0, 5))).learn(row)


@over_selectors
@pytest.mark.parametrize("known", [0, 1, 3])
def test_a_far_row_is_found_in_the_smallest_sets(selector: SelectorLike, known: int) -> None:
    """With one feature and few rows all scores are finite; equal rows are taken in order."""
    prior = np.full((known, 1), 2.0)
    for rows in (1, 2, 5):
        choices = run_selector(selector, np.full((rows, 1), 2.0), prior)
        assert rows_of(choices) == list(range(len(choices)))
        assert all(np.isfinite(choice.score) and choice.score >= 0 for choice in choices)
    values = np.array([[2.0], [2.0], [2.0], [2.0], [50.0]])
    if known or not isinstance(selector, Autoencoder):  # a network may memorize a far row
        expected = 0 if known and isinstance(selector, IsolationForest) else 4
        assert run_selector(selector, values, prior)[0].row == expected


def test_counters_count_rows_and_seconds() -> None:
    selection = Rx().open(normal(8, 5), np.empty((0, 5)))
    assert selection.counters() == {"rows": 8, "seconds": {"score": 0.0}}
    selection.peek()
    assert selection.counters()["seconds"]["score"] >= 0


# Farthest first


def traverse(x: Floats, prior: Floats) -> list[tuple[int, float]]:
    """Gonzalez 1985, by loops: each pick is the row whose nearest seen item is farthest."""
    seen, left, picks = [*prior], list(range(len(x))), list[tuple[int, float]]()
    while left:
        score = {row: min(float(((x[row] - s) ** 2).sum()) for s in (seen or [x.mean(axis=0)])) for row in left}
        row = max(left, key=lambda row: (score[row], -row))
        if seen and score[row] == 0:
            break
        picks.append((row, score[row]))
        seen.append(x[row])
        left.remove(row)
    return picks


@given(drawn=draw_features(rows=14))
def test_farthest_first_equals_its_definition_by_loops(drawn: tuple[npt.NDArray[Any], Floats]) -> None:
    """For data of every kind, exact ties included, with and without a prior."""
    values, prior = drawn[0].astype(np.float64), drawn[1]
    expected, choices = traverse(values, prior), run_selector(FarthestFirst(), values, prior)
    scale = max(float(np.ptp(np.vstack([values, prior]), axis=0).max(initial=0.0)) ** 2, 1e-300)
    for (row, score), choice in zip(expected, choices, strict=False):
        assert choice.score == pytest.approx(score, rel=1e-12, abs=1e-13 * scale)
        if choice.row != row:  # rounding decided between two
            assert choice.near_ties or _score_difference(values, prior, expected, choices) < 1e-13 * scale
            return
    assert len(expected) == len(choices)


def _score_difference(values: Floats, prior: Floats, expected: list[tuple[int, float]], choices: list[Choice]) -> float:
    """Difference of the two scores at the first pick that is not the expected one."""
    at = next(i for i, (row, _) in enumerate(expected) if row != choices[i].row)
    seen = [*prior, *(values[row] for row, _ in expected[:at])] or [values.mean(axis=0)]
    return abs(expected[at][1] - min(float(((values[choices[at].row] - s) ** 2).sum()) for s in seen))


def test_farthest_first_of_four_points_on_a_line() -> None:
    """On a line: 0, 1, 4, 10 with mean 3.75; 10 is farthest, then 0, then 4 (16 from 0), then 1."""
    values = np.array([[0.0], [1.0], [4.0], [10.0]])
    choices = run_selector(FarthestFirst(), values)
    assert [(c.row, c.score) for c in choices] == [(3, 6.25**2), (0, 100.0), (2, 16.0), (1, 1.0)]
    assert [(c.row, c.score) for c in run_selector(FarthestFirst(start=1), values)] == [
        (1, 0.0),
        (3, 81.0),
        (2, 9.0),
        (0, 1.0),
    ]
    known = np.array([[9.0], [0.0]])
    assert [(c.row, c.score) for c in run_selector(FarthestFirst(start=1), values, known)] == [
        (2, 16.0),
        (1, 1.0),
        (3, 1.0),
    ]


def test_farthest_first_starts_at_random_or_at_a_row() -> None:
    """A random start depends on the seed alone; if the start row was skipped, the next one is taken."""
    values = normal(40, 4)
    firsts = {run_selector(FarthestFirst(start="random", seed=seed), values)[0].row for seed in range(12)}
    assert len(firsts) > 4
    selection = FarthestFirst(start=39).open(values, values[:0].astype(float))
    selection.skip(39)
    assert selection.peek() == Choice(0, 0.0)
    with pytest.raises(PlanError, match="start row 40 is beyond the 40 rows"):
        FarthestFirst(start=40).open(values, values[:0].astype(float))
    FarthestFirst(start=40).open(values, values[:1])  # with a prior the start is ignored


def test_a_skipped_row_does_not_count_as_seen_and_an_absorbed_one_does() -> None:
    values = np.array([[0.0], [10.0], [10.5], [4.0]])
    prior = np.array([[0.0]])
    selection = FarthestFirst().open(values, prior)
    selection.skip(2)
    skipped = selection.peek()
    selection = FarthestFirst().open(values, prior)
    selection.absorb(2)
    absorbed = selection.peek()
    assert skipped is not None
    assert absorbed is not None
    assert (skipped.row, skipped.score) == (1, 100.0)
    assert (absorbed.row, absorbed.score) == (3, 16.0)


def test_the_nearest_item_seen_is_what_is_expected() -> None:
    """Of the prior, then of the rows learned; equal ones by who was seen first."""
    values = np.array([[0.0], [10.0], [14.0], [4.0]])
    selection, expected = FarthestFirst().open(values, np.array([[-1.0]])), list[tuple[int, float]]()
    while (choice := selection.peek()) is not None:
        assert choice.expected is not None
        assert choice.residual is not None
        assert choice.score == float(choice.residual @ choice.residual)
        expected.append((choice.row, float(choice.expected[0])))
        selection.learn(choice.row)
    assert expected == [(2, -1.0), (3, -1.0), (1, 14.0), (0, -1.0)]


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_row_equal_to_one_of_the_prior_has_distance_0(offset: float) -> None:
    """Exactly, far from the origin too; farthest-first never picks it."""
    values = np.random.default_rng(0).normal(size=(30, 6)) + offset
    prior = values[[3, 8, 21]]
    assert {choice.row for choice in run_selector(FarthestFirst(), values, prior)} == set(range(30)) - {3, 8, 21}
    scores = scores_of(NearestNeighbours(k=1), values, prior)
    assert set(np.flatnonzero(scores == 0)) == {3, 8, 21}


# Neighbours


@examples(15)
@given(st.sampled_from((0, 9)), st.sampled_from(("kth", "mean")), st.integers(1, 50), st.integers(0, 99))
def test_nearest_neighbors_equal_a_full_sort_of_distances(known: int, of: Any, k: int, seed: int) -> None:
    """Distances to the prior, or to all other rows, among which duplicates count."""
    whole = normal(40 + known, 6, seed)
    values, prior = whole[known:], whole[:known]
    values[7] = values[3]
    distances = np.sqrt(((values[:, None] - (prior if known else values)[None]) ** 2).sum(axis=2))
    if not known:
        distances = distances[~np.eye(40, dtype=bool)].reshape(40, 39)
    nearest = np.sort(distances, axis=1)[:, :k]
    expected = nearest[:, -1] if of == "kth" else nearest.mean(axis=1)
    np.testing.assert_allclose(scores_of(NearestNeighbours(k=k, of=of), values, prior), expected, rtol=1e-12)
    assert known or k > 1 or (expected[7] == 0 and expected[3] == 0)


# Forest


@pytest.mark.parametrize("known", [0, 50])
def test_the_forest_is_that_of_scikit_learn_on_the_rows_in_canonical_order(known: int) -> None:
    """A planted outlier has the highest score."""
    from sklearn.ensemble import IsolationForest as Theirs

    whole = normal(80 + known, 6)
    values, prior = whole[known:], whole[:known]
    values[11] += 60 * np.linspace(1, 0.1, 6)
    training_rows = prior if known else values
    theirs = Theirs(n_estimators=30, max_samples=40, random_state=3).fit(
        training_rows[_in_memory.canonical_order(training_rows)]
    )
    scores = scores_of(IsolationForest(trees=30, sample=40, seed=3), values, prior)
    np.testing.assert_array_equal(scores, -theirs.score_samples(values))
    assert scores.argmax() == 11
    assert ((scores > 0) & (scores <= 1)).all()
    other = scores_of(IsolationForest(trees=30, sample=40, seed=4), values, prior)
    assert (other != scores).any()


# RX


@pytest.mark.parametrize("known", [0, 9, 60])
def test_rx_without_shrinkage_is_by_the_pseudo_inverse(known: int) -> None:
    """Also if the background spans only a part of the features."""
    whole = normal(40 + known, 12)
    values, prior = whole[known:], whole[:known]
    background = prior if known else values
    z = values - background.mean(axis=0)
    inverse = np.linalg.pinv(np.cov(background.T, bias=True), rcond=1e-10, hermitian=True)
    expected = np.einsum("nd,de,ne->n", z, inverse, z)
    np.testing.assert_allclose(scores_of(Rx(shrink=0.0), values, prior), expected, rtol=1e-7)


@pytest.mark.parametrize("known", [0, 9, 60])
@pytest.mark.parametrize("shrink", [0.05, 1.0, "auto"])
def test_rx_with_shrinkage_is_by_the_inverse(known: int, shrink: Any) -> None:
    """Of (1 − s) Σ + s (tr Σ / d) I, s being scikit-learn's OAS with `auto`."""
    from sklearn.covariance import oas

    whole = normal(40 + known, 12)
    values, prior = whole[known:], whole[:known]
    background = prior if known else values
    z, covariance = values - background.mean(axis=0), np.cov(background.T, bias=True)
    part = oas(background)[1] if shrink == "auto" else shrink
    shrunk = (1 - part) * covariance + part * np.trace(covariance) / 12 * np.eye(12)
    expected = np.einsum("nd,dn->n", z, np.linalg.solve(shrunk, z.T))
    np.testing.assert_allclose(scores_of(Rx(shrink=shrink), values, prior), expected, rtol=1e-8)


@pytest.mark.parametrize("shrink", [0.0, 0.3])
def test_rx_of_a_rank_counts_leading_directions_only(shrink: float) -> None:
    """Principal coordinates, each over its variance, which is shrunk towards the mean of those that count."""
    values = normal(40, 8)
    z = values - values.mean(axis=0)
    _, singular, axes = np.linalg.svd(z, full_matrices=False)
    variances = singular[:3] ** 2 / 40
    variances = (1 - shrink) * variances + shrink * variances.mean()
    expected = ((z @ axes[:3].T) ** 2 / variances).sum(axis=1)
    np.testing.assert_allclose(scores_of(Rx(rank=3, shrink=shrink), values), expected, rtol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), known=st.sampled_from((0, 30)))
def test_rx_is_affinely_invariant(seed: int, known: int) -> None:
    """Without shrinkage, features mixed by any invertible matrix have the same scores: x ↦ A x + b."""
    rng = np.random.default_rng(seed)
    whole = rng.normal(size=(25 + known, 5))
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    mixed = whole @ (turn * rng.uniform(0.1, 10, 5)) @ np.linalg.qr(rng.normal(size=(5, 5)))[0] + rng.normal(size=5)
    straight = scores_of(Rx(shrink=0.0), whole[known:], whole[:known])
    np.testing.assert_allclose(scores_of(Rx(shrink=0.0), mixed[known:], mixed[:known]), straight, rtol=1e-6)
    if not known:  # each direction of n rows has variance 1 about their own mean
        assert straight.sum() == pytest.approx(25 * 5)


def test_rx_of_a_background_that_does_not_vary() -> None:
    """Its covariance counts as the identity: rows are ranked by their distance."""
    scores = scores_of(Rx(), np.array([[1.0, 2.0], [1.0, 5.0], [3.0, 2.0]]), np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(scores, [0.0, 9.0, 4.0])


@pytest.mark.parametrize("known", [0, 35])
@pytest.mark.parametrize(("neighbours", "shrink"), [(5, 0.1), (20, 0.01), (20, 1.0), (500, 0.3)])
def test_local_rx_is_by_the_inverse(known: int, neighbours: int, shrink: float) -> None:
    """For each row: its nearest others, their mean, the inverse of their shrunk covariance."""
    whole = normal(40 + known, 12)
    values, prior = whole[known:], whole[:known]
    expected = []
    for row, x in enumerate(values):
        others = prior if known else np.delete(values, row, axis=0)
        near = others[np.argsort(((others - x) ** 2).sum(axis=1))[:neighbours]]
        covariance = np.cov(near.T, bias=True)
        shrunk = (1 - shrink) * covariance + shrink * np.trace(covariance) / 12 * np.eye(12)
        z = x - near.mean(axis=0)
        expected.append(z @ np.linalg.inv(shrunk) @ z)
    scores = scores_of(LocalRx(neighbours=neighbours, shrink=shrink), values, prior)
    np.testing.assert_allclose(scores, expected, rtol=1e-8)


def test_local_rx_finds_a_row_between_clusters() -> None:
    """A row off one of two clusters, towards the other, lies well within the span of all rows: it is new locally only."""
    rng = np.random.default_rng(5)
    values = np.vstack([rng.normal(size=(40, 6)) - 20, rng.normal(size=(40, 6)) + 20, np.full((1, 6), -10.0)])
    assert scores_of(LocalRx(neighbours=10), values).argmax() == 80
    assert scores_of(Rx(), values).argmin() == 80


def test_local_rx_is_finite_if_neighbors_are_equal() -> None:
    """A row whose neighbors all equal each other has a high but finite score; theirs is 0."""
    values = np.vstack([np.ones((12, 4)), 1.5 * np.ones((1, 4))])
    scores = scores_of(LocalRx(neighbours=5), values)
    assert scores.argmax() == 12
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores[:12], 0.0)


# Autoencoder


def low_rank(rows: int, seed: int) -> Floats:
    """Rows (rows, 20) on a plane of three dimensions, the same for every seed, with little noise."""
    rng = np.random.default_rng(seed)
    axes = np.random.default_rng(99).normal(size=(3, 20))
    return rng.normal(size=(rows, 3)) @ axes + 0.05 * rng.normal(size=(rows, 20)) + 30


NETWORK = Autoencoder(rank=4, hidden=32, epochs=40, batch=32, rate=3e-3)


def test_the_autoencoder_reproduces_rows_like_its_training_rows() -> None:
    """Far better than their mean does; and a row off their plane badly."""
    prior, values = low_rank(400, 0), low_rank(60, 1)
    off = np.random.default_rng(2).normal(size=20)
    values[9] += 6 * off / np.linalg.norm(off)
    scores = scores_of(NETWORK, values, prior)
    others = np.arange(60) != 9
    errors_of_mean = ((values - prior.mean(axis=0)) ** 2).sum(axis=1)
    assert scores[others].mean() < 0.2 * errors_of_mean[others].mean()
    assert scores.argmax() == 9


def test_the_autoencoder_explains_its_picks() -> None:
    """score = |x − x̂|² in the units of the features, x̂ + r = x, and μ is the mean of the training rows."""
    prior, values = low_rank(100, 0), low_rank(12, 1)
    for choice in run_selector(NETWORK, values, prior):
        assert choice.expected is not None
        assert choice.residual is not None
        assert choice.mean is not None
        np.testing.assert_allclose(choice.expected + choice.residual, values[choice.row], rtol=1e-12)
        assert choice.score == pytest.approx(float(choice.residual @ choice.residual), rel=1e-9)
        np.testing.assert_allclose(choice.mean, prior.mean(axis=0), rtol=1e-12)


def test_scaled_features_have_scaled_errors() -> None:
    """All features times 1,024, exactly, and the network is the same: scores are 1,024² times as large, to the bit."""
    values = low_rank(50, 0)
    np.testing.assert_array_equal(scores_of(NETWORK, 1024 * values), 1024.0**2 * scores_of(NETWORK, values))


def test_the_autoencoder_neither_reads_nor_changes_global_state() -> None:
    """The same bits each time, whatever random numbers were drawn before and however many threads there are."""
    import torch

    values = low_rank(70, 0)
    expected, threads = comparable_choices(run_selector(NETWORK, values)), torch.get_num_threads()
    torch.manual_seed(7)
    torch.rand(3)
    state = torch.get_rng_state()
    try:
        torch.set_num_threads(3)
        with torch.no_grad():
            assert comparable_choices(run_selector(NETWORK, values)) == expected
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    assert comparable_choices(run_selector(Autoencoder(rank=4, hidden=32, seed=1), values)) != expected


# Oracle


@given(labels=st.lists(st.sampled_from(["a", "b", "c", "d", None, ""]), min_size=1, max_size=30), t=st.integers(1, 30))
def test_the_oracle_has_the_best_possible_nauc(labels: list[str | None], t: int) -> None:
    """100 for every t, if there is a class; all rows are taken, the first of each class before the others."""
    values = np.zeros((len(labels), 2))
    choices = take_picks(Oracle().open(values, values[:0], labels))
    rows = rows_of(choices)
    classes = {label for label in labels if label}
    firsts = sorted(labels.index(label) for label in classes)
    assert rows == firsts + [row for row in range(len(labels)) if row not in firsts]
    assert [choice.score for choice in choices] == [1.0] * len(classes) + [0.0] * (len(labels) - len(classes))
    if classes:
        assert evaluate_discovery(labels, rows, t).nauc == pytest.approx(100)


def test_the_oracle_knows_classes_that_were_learned_or_absorbed_but_not_skipped() -> None:
    values, labels = np.zeros((6, 1)), ["a", "a", "b", None, "b", "c"]
    selection = Oracle().open(values, values[:0].astype(float), labels)
    selection.skip(0)
    selection.absorb(4)
    assert selection.peek() == Choice(1, 1.0, 1)
    selection.learn(5)
    selection.learn(1)
    assert selection.peek() == Choice(2, 0.0, 1)


def test_the_oracle_needs_labels() -> None:
    with pytest.raises(PlanError, match="oracle: it needs labels"):
        Oracle().open(np.zeros((3, 2)), np.empty((0, 2)))
    with pytest.raises(PlanError, match="2 labels for 3 rows"):
        Oracle().open(np.zeros((3, 2)), np.empty((0, 2)), ["a", "b"])


# Settings


@pytest.mark.parametrize(
    ("selector", "field", "value"),
    [
        (FarthestFirst, "start", -1),
        (NearestNeighbours, "k", 0),
        (IsolationForest, "trees", 0),
        (IsolationForest, "sample", 1),
        (IsolationForest, "seed", -1),
        (Rx, "rank", -1),
        (Rx, "shrink", 1.1),
        (Rx, "shrink", float("nan")),
        (LocalRx, "neighbours", 1),
        (LocalRx, "shrink", 0.0),
        (Autoencoder, "rank", 0),
        (Autoencoder, "hidden", 0),
        (Autoencoder, "epochs", 0),
        (Autoencoder, "batch", 0),
        (Autoencoder, "rate", 0.0),
        (Autoencoder, "seed", -1),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name(selector: Any, field: str, value: float) -> None:
    with pytest.raises(PlanError, match=rf"{selector.kind}: {field} must be .* not {value}"):
        selector(**{field: value})


# Rows in memory


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 12), dimension=st.integers(0, 3))
def test_the_canonical_order_depends_on_values_only(seed: int, rows: int, dimension: int) -> None:
    """Permuted rows in this order are the same matrix (−0 is 0), and equal rows keep their order."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-1, 2, (rows, dimension)) * rng.choice([-0.5, 0.5])
    shuffled = values[rng.permutation(rows)]
    order = _in_memory.canonical_order(values)
    np.testing.assert_array_equal(values[order], shuffled[_in_memory.canonical_order(shuffled)])
    for first, second in pairwise(order):
        assert first < second or (values[first] != values[second]).any()


def test_equal_rows_are_scored_once() -> None:
    values = np.array([[2.0], [1.0], [2.0], [-0.0], [0.0], [1.0]])
    scored = []

    def score(rows: Floats) -> Floats:
        scored.extend(rows[:, 0])
        return 10 * rows[:, 0]

    np.testing.assert_array_equal(_in_memory.score_unique_rows(values, score), [20, 10, 20, 0, 0, 10])
    assert sorted(scored) == [0, 1, 2]


def test_chunks_cover_every_row_once_however_large_a_row_is() -> None:
    for count, size in ((0, 5), (7, 1), (10, 1 << 22), (10, 1 << 30), (9, (1 << 22) // 4)):
        chunks = _in_memory.chunk_slices(count, size)
        assert [row for chunk in chunks for row in range(count)[chunk]] == list(range(count))


def test_chunks_change_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are scored one by one have the scores of all together, to the bit."""
    values, selectors = normal(30, 6), (NearestNeighbours(), LocalRx(neighbours=7))
    expected = [scores_of(selector, values) for selector in selectors]
    monkeypatch.setattr(_in_memory, "_CHUNK_VALUES", 1)
    for selector, scores in zip(selectors, expected, strict=True):
        np.testing.assert_array_equal(scores_of(selector, values), scores)
