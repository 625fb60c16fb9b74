"""The rivals of DEMUD: each against what its definition says, read out literally, and what a prior means to it."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation import discovery
from interpdisc_core.selectors import (
    Autoencoder,
    Choice,
    FarthestFirst,
    IsolationForest,
    LocalRx,
    NearestNeighbours,
    Oracle,
    Rx,
    Seen,
    Selects,
    held,
)
from tests import strategies

Floats = npt.NDArray[np.float64]

RIVALS: list[Selects] = [
    FarthestFirst(), NearestNeighbours(k=3), IsolationForest(trees=10), Rx(), Rx(shrink=0.0), LocalRx(neighbours=6),
    Autoencoder(rank=2, hidden=8, epochs=3),
]  # fmt: skip
over_rivals = pytest.mark.parametrize("rival", RIVALS, ids=repr)
STATIC = RIVALS[1:]


def nothing(values: npt.NDArray[Any]) -> Floats:
    return np.empty((0, values.shape[1]))


def run(selector: Selects, values: npt.NDArray[Any], prior: Floats | Seen | None = None) -> list[Choice]:
    """All picks, each learned."""
    selection = selector.open(values, nothing(values) if prior is None else prior)
    made = []
    while (choice := selection.peek()) is not None:
        made.append(choice)
        selection.learn(choice.row)
    return made


def scores(selector: Selects, values: npt.NDArray[Any], prior: Floats | Seen | None = None) -> Floats:
    """Of all rows (N,), by row; for selectors that rank them once."""
    found = np.full(len(values), np.nan)
    for choice in run(selector, values, prior):
        found[choice.row] = choice.score
    return found


def normal(rows: int, dimension: int, seed: int = 0) -> Floats:
    """With a spectrum, and away from the origin."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, dimension)) * np.geomspace(3, 0.1, dimension) + 10 * rng.normal(size=dimension)


# ---------------------------------------------------------------------------------------- all that rank once


@pytest.mark.parametrize("rival", STATIC, ids=repr)
@given(data=st.data())
def test_a_ranking_falls(rival: Selects, data: st.DataObject) -> None:
    """Over data of every kind: each row is picked, scores fall, the lowest row comes first among equal ones, and near
    ties are as many as follow with the same score; equal rows have equal scores."""
    values, prior = data.draw(strategies.features())
    made = run(rival, values, prior)
    assert sorted(choice.row for choice in made) == list(range(len(values)))
    keys = [(-choice.score, choice.row) for choice in made]
    assert keys == sorted(keys)
    for number, choice in enumerate(made):
        assert np.isfinite(choice.score)
        assert choice.score >= 0
        assert choice.near_ties == sum(other.score == choice.score for other in made[number + 1 :])
    by_row = np.empty(len(values))
    by_row[[choice.row for choice in made]] = [choice.score for choice in made]
    _, same = np.unique(values, axis=0, return_inverse=True)
    for group in range(same.max() + 1):
        several = by_row[same == group]
        np.testing.assert_allclose(several, several[0], rtol=1e-6, atol=1e-9 * (by_row.max() + 1e-12))


@pytest.mark.parametrize("rival", [s for s in STATIC if not isinstance(s, LocalRx | NearestNeighbours)], ids=repr)
@pytest.mark.parametrize("known", [0, 40])
def test_what_is_fitted_has_no_order(rival: Selects, known: int) -> None:
    """Rows and prior in another order have the same scores, to the bit, and so have the rows of a larger matrix's copies."""
    whole = normal(60 + known, 7).astype(np.float32)
    values, prior = whole[known:], whole[:known].astype(np.float64)
    order = np.random.default_rng(1).permutation(60)
    expected = scores(rival, values, prior)
    np.testing.assert_array_equal(scores(rival, values[order], prior[::-1]), expected[order])
    if known:
        twice = scores(rival, np.vstack([values, values]), prior)
        np.testing.assert_allclose(twice, np.tile(expected, 2), rtol=1e-12)
        np.testing.assert_array_equal(twice[:60], twice[60:])


@over_rivals
def test_float16_and_integers_are_the_numbers_they_are(rival: Selects) -> None:
    """Whatever type holds the values, the picks are the same to the bit."""
    coarse = np.random.default_rng(3).integers(-40, 40, (25, 6)).astype(np.int8)
    expected = strategies.told(run(rival, coarse.astype(np.float64)))
    for dtype in (np.float16, np.float32, np.int8):
        assert strategies.told(run(rival, coarse.astype(dtype))) == expected


@over_rivals
@pytest.mark.parametrize("store", ["zarr 3", "permuted", "column-major"])
def test_rows_may_lie_anywhere(rival: Selects, store: str) -> None:
    """Rows of any store make the picks of the array."""
    kept = strategies.stored(normal(23, 5), "float32")
    selection, made = rival.open(kept.rows(store), np.empty((0, 5))), []
    while (choice := selection.peek()) is not None:
        made.append(choice)
        selection.learn(choice.row)
    assert strategies.told(made) == strategies.told(run(rival, kept.array))


@over_rivals
def test_a_summary_does_for_rx_only(rival: Selects) -> None:
    """Who needs the items says so; a summary of nothing is no prior."""
    values, prior = normal(20, 5), normal(9, 5, 1)
    expected = strategies.told(run(rival, values))
    assert strategies.told(run(rival, values, Seen.none(5))) == expected
    if isinstance(rival, Rx):
        found = scores(rival, values, Seen.of(prior))
        np.testing.assert_allclose(found, scores(rival, values, prior), rtol=1e-10)
    else:
        with pytest.raises(PlanError, match=f"{rival.kind}: it needs the items that were seen"):
            rival.open(values, Seen.of(prior))


@over_rivals
def test_a_background_that_does_not_fit(rival: Selects) -> None:
    """It has another width, or a value that is not finite."""
    values = normal(8, 5)
    with pytest.raises(PlanError, match="the background has 4 features, the rows 5"):
        rival.open(values, normal(3, 4))
    prior = normal(6, 5, 1)
    prior[4, 2] = np.nan
    with pytest.raises(PlanError, match="the background's row 4 has no finite value in feature 2"):
        rival.open(values, prior)


def test_a_summary_that_does_not_fit() -> None:
    with pytest.raises(PlanError, match="the background has 4 features, the rows 5"):
        Rx().open(normal(8, 5), Seen.of(normal(3, 4)))


@over_rivals
@pytest.mark.parametrize("row", [-1, 8])
def test_a_row_that_is_not_there(rival: Selects, row: int) -> None:
    """It is not another by counting from the end."""
    with pytest.raises(ValueError, match=f"row {row} is not one of the 8"):
        rival.open(normal(8, 5), np.empty((0, 5))).learn(row)


@over_rivals
@pytest.mark.parametrize("known", [0, 1, 3])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_far_row_is_found_in_the_smallest_sets(rival: Selects, known: int, rows: int) -> None:
    """With one feature and few rows all scores are finite; all rows equal are taken in order."""
    values, prior = np.full((rows, 1), 2.0), np.full((known, 1), 2.0)
    made = run(rival, values, prior)
    assert [choice.row for choice in made] == list(range(len(made)))
    assert all(np.isfinite(choice.score) and choice.score >= 0 for choice in made)
    values[-1] = 50.0
    if rows == 5 and not (known == 0 and isinstance(rival, Autoencoder)):  # a network may learn a far row by heart
        assert run(rival, values, prior)[0].row == (0 if known and isinstance(rival, IsolationForest) else 4)


def test_counters_are_json() -> None:
    selection = Rx().open(normal(8, 5), np.empty((0, 5)))
    assert selection.counters() == {"rows": 8, "seconds": {"score": 0.0}}
    selection.peek()
    assert selection.counters()["seconds"]["score"] >= 0


# ---------------------------------------------------------------------------------------- farthest first


def traversed(x: Floats, prior: Floats) -> list[tuple[int, float]]:
    """Gonzalez 1985, by loops: each pick is the row whose nearest that was seen is farthest."""
    seen, left, picks = [*prior], list(range(len(x))), list[tuple[int, float]]()
    while left:
        score = {
            row: min(float(((x[row] - s) ** 2).sum()) for s in (seen or [x.mean(axis=0)])) for row in left
        }  # fmt: skip
        row = max(left, key=lambda row: (score[row], -row))
        if seen and score[row] == 0:
            break
        picks.append((row, score[row]))
        seen.append(x[row])
        left.remove(row)
    return picks


@given(given_=strategies.features(rows=14))
def test_farthest_first_is_the_loop(given_: tuple[npt.NDArray[Any], Floats]) -> None:
    """Over data of every kind, exact ties included, with and without a prior."""
    values, prior = given_[0].astype(np.float64), given_[1]
    expected, found = traversed(values, prior), run(FarthestFirst(), values, prior)
    scale = max(float(np.ptp(np.vstack([values, prior]), axis=0).max(initial=0.0)) ** 2, 1e-300)
    for (row, score), choice in zip(expected, found, strict=False):
        assert choice.score == pytest.approx(score, rel=1e-12, abs=1e-13 * scale)
        if choice.row != row:  # rounding decided between two
            assert choice.near_ties or _rival_score(values, prior, expected, found) < 1e-13 * scale
            return
    assert len(expected) == len(found)


def _rival_score(values: Floats, prior: Floats, expected: list[tuple[int, float]], found: list[Choice]) -> float:
    """How much better the loop's row was than the one that was picked, where they part."""
    at = next(i for i, (row, _) in enumerate(expected) if row != found[i].row)
    seen = [*prior, *(values[row] for row, _ in expected[:at])] or [values.mean(axis=0)]
    return abs(expected[at][1] - min(float(((values[found[at].row] - s) ** 2).sum()) for s in seen))


def test_farthest_first_by_hand() -> None:
    """On a line: 0, 1, 4, 10 with mean 3.75; 10 is farthest, then 0, then 4 (16 from 0), then 1."""
    values = np.array([[0.0], [1.0], [4.0], [10.0]])
    made = run(FarthestFirst(), values)
    assert [(c.row, c.score) for c in made] == [(3, 6.25**2), (0, 100.0), (2, 16.0), (1, 1.0)]
    assert [(c.row, c.score) for c in run(FarthestFirst(start=1), values)] == [(1, 0.0), (3, 81.0), (2, 9.0), (0, 1.0)]
    known = np.array([[9.0], [0.0]])
    assert [(c.row, c.score) for c in run(FarthestFirst(start=1), values, known)] == [(2, 16.0), (1, 1.0), (3, 1.0)]


def test_farthest_first_starts() -> None:
    """By chance it depends on the seed alone; a start that was skipped gives way to the next row."""
    values = normal(40, 4)
    firsts = {run(FarthestFirst(start="random", seed=seed), values)[0].row for seed in range(12)}
    assert len(firsts) > 4
    selection = FarthestFirst(start=39).open(values, nothing(values))
    selection.skip(39)
    assert selection.peek() == Choice(0, 0.0)
    with pytest.raises(PlanError, match="start row 40 is beyond the 40 rows"):
        FarthestFirst(start=40).open(values, nothing(values))
    FarthestFirst(start=40).open(values, values[:1])  # with a prior it does not count


def test_what_is_skipped_is_not_seen() -> None:
    """A row that is skipped makes no other less new; one that is absorbed does."""
    values = np.array([[0.0], [10.0], [10.5], [4.0]])
    prior = np.array([[0.0]])
    selection = FarthestFirst().open(values, prior)
    selection.skip(2)
    assert selection.peek() == Choice(1, 100.0)
    selection = FarthestFirst().open(values, prior)
    selection.absorb(2)
    assert selection.peek() == Choice(3, 16.0)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_row_that_was_seen_is_not_new(offset: float) -> None:
    """A row equal to one of the prior has distance 0, exactly, far from the origin too; farthest-first never picks it."""
    values = np.random.default_rng(0).normal(size=(30, 6)) + offset
    prior = values[[3, 8, 21]]
    assert {choice.row for choice in run(FarthestFirst(), values, prior)} == set(range(30)) - {3, 8, 21}
    found = scores(NearestNeighbours(k=1), values, prior)
    assert set(np.flatnonzero(found == 0)) == {3, 8, 21}


# ---------------------------------------------------------------------------------------- neighbours


@pytest.mark.parametrize("known", [0, 9])
@pytest.mark.parametrize("of", ["kth", "mean"])
@pytest.mark.parametrize("k", [1, 5, 50])
def test_neighbours_by_brute_force(known: int, of: Any, k: int) -> None:
    """Sorted distances to the prior, or to all other rows; duplicates are others."""
    whole = normal(40 + known, 6)
    values, prior = whole[known:], whole[:known]
    values[7] = values[3]
    distances = np.sqrt(((values[:, None] - (prior if known else values)[None]) ** 2).sum(axis=2))
    if not known:
        distances = distances[~np.eye(40, dtype=bool)].reshape(40, 39)
    nearest = np.sort(distances, axis=1)[:, :k]
    expected = nearest[:, -1] if of == "kth" else nearest.mean(axis=1)
    np.testing.assert_allclose(scores(NearestNeighbours(k=k, of=of), values, prior), expected, rtol=1e-12)
    assert known or k > 1 or (expected[7] == 0 and expected[3] == 0)


# ---------------------------------------------------------------------------------------- forest


@pytest.mark.parametrize("known", [0, 50])
def test_the_forest_is_scikit_learns(known: int) -> None:
    """Its scores on the rows in the order of their values; the planted row is first."""
    from sklearn.ensemble import IsolationForest as Theirs

    whole = normal(80 + known, 6)
    values, prior = whole[known:], whole[:known]
    values[11] += 60 * np.linspace(1, 0.1, 6)
    grown_on = prior if known else values
    theirs = Theirs(n_estimators=30, max_samples=40, random_state=3).fit(grown_on[held.ordered(grown_on)])
    found = scores(IsolationForest(trees=30, sample=40, seed=3), values, prior)
    np.testing.assert_array_equal(found, -theirs.score_samples(values))
    assert found.argmax() == 11
    assert ((found > 0) & (found <= 1)).all()
    other = scores(IsolationForest(trees=30, sample=40, seed=4), values, prior)
    assert (other != found).any()


# ---------------------------------------------------------------------------------------- RX


@pytest.mark.parametrize("known", [0, 9, 60])
def test_rx_is_a_pseudo_inverse(known: int) -> None:
    """Without shrinkage, also where the background spans a part of the features only."""
    whole = normal(40 + known, 12)
    values, prior = whole[known:], whole[:known]
    background = prior if known else values
    z = values - background.mean(axis=0)
    inverse = np.linalg.pinv(np.cov(background.T, bias=True), rcond=1e-10, hermitian=True)
    expected = np.einsum("nd,de,ne->n", z, inverse, z)
    np.testing.assert_allclose(scores(Rx(shrink=0.0), values, prior), expected, rtol=1e-7)


@pytest.mark.parametrize("known", [0, 9, 60])
@pytest.mark.parametrize("shrink", [0.05, 1.0, "auto"])
def test_rx_shrunk_is_an_inverse(known: int, shrink: Any) -> None:
    """Of (1 − s) Σ + s (tr Σ / d) I, s being scikit-learn's OAS with `auto`."""
    from sklearn.covariance import oas

    whole = normal(40 + known, 12)
    values, prior = whole[known:], whole[:known]
    background = prior if known else values
    z, covariance = values - background.mean(axis=0), np.cov(background.T, bias=True)
    part = oas(background)[1] if shrink == "auto" else shrink
    shrunk = (1 - part) * covariance + part * np.trace(covariance) / 12 * np.eye(12)
    expected = np.einsum("nd,dn->n", z, np.linalg.solve(shrunk, z.T))
    np.testing.assert_allclose(scores(Rx(shrink=shrink), values, prior), expected, rtol=1e-8)


@pytest.mark.parametrize("shrink", [0.0, 0.3])
def test_rx_of_a_rank_looks_at_leading_directions_only(shrink: float) -> None:
    """Principal coordinates, each over its variance, which is shrunk towards the mean of those that count."""
    values = normal(40, 8)
    z = values - values.mean(axis=0)
    _, singular, axes = np.linalg.svd(z, full_matrices=False)
    variances = singular[:3] ** 2 / 40
    variances = (1 - shrink) * variances + shrink * variances.mean()
    expected = ((z @ axes[:3].T) ** 2 / variances).sum(axis=1)
    np.testing.assert_allclose(scores(Rx(rank=3, shrink=shrink), values), expected, rtol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), known=st.sampled_from((0, 30)))
def test_rx_is_affinely_invariant(seed: int, known: int) -> None:
    """Without shrinkage, features mixed by any invertible matrix have the same scores: x ↦ A x + b."""
    rng = np.random.default_rng(seed)
    whole = rng.normal(size=(25 + known, 5))
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    mixed = whole @ (turn * rng.uniform(0.1, 10, 5)) @ np.linalg.qr(rng.normal(size=(5, 5)))[0] + rng.normal(size=5)
    straight = scores(Rx(shrink=0.0), whole[known:], whole[:known])
    np.testing.assert_allclose(scores(Rx(shrink=0.0), mixed[known:], mixed[:known]), straight, rtol=1e-6)
    if not known:  # each direction of n rows has variance 1 about their own mean
        assert straight.sum() == pytest.approx(25 * 5)


def test_rx_of_a_background_that_does_not_vary() -> None:
    """Its covariance counts as the identity: rows are ranked by how far they are."""
    prior = np.array([[1.0, 2.0]])
    found = scores(Rx(), np.array([[1.0, 2.0], [1.0, 5.0], [3.0, 2.0]]), prior)
    np.testing.assert_array_equal(found, [0.0, 9.0, 4.0])


@pytest.mark.parametrize("known", [0, 35])
@pytest.mark.parametrize(("neighbours", "shrink"), [(5, 0.1), (20, 0.01), (20, 1.0), (500, 0.3)])
def test_local_rx_is_an_inverse(known: int, neighbours: int, shrink: float) -> None:
    """By hand for each row: its nearest others, their mean, the inverse of their shrunk covariance."""
    whole = normal(40 + known, 12)
    values, prior = whole[known:], whole[:known]
    expected = []
    for row, x in enumerate(values):
        among = prior if known else np.delete(values, row, axis=0)
        near = among[np.argsort(((among - x) ** 2).sum(axis=1))[:neighbours]]
        covariance = np.cov(near.T, bias=True)
        shrunk = (1 - shrink) * covariance + shrink * np.trace(covariance) / 12 * np.eye(12)
        z = x - near.mean(axis=0)
        expected.append(z @ np.linalg.inv(shrunk) @ z)
    found = scores(LocalRx(neighbours=neighbours, shrink=shrink), values, prior)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_local_rx_sees_what_is_new_beside_a_cluster() -> None:
    """A row off one of two clusters, towards the other, lies well within what all rows span: it is new in its place only."""
    rng = np.random.default_rng(5)
    values = np.vstack([rng.normal(size=(40, 6)) - 20, rng.normal(size=(40, 6)) + 20, np.full((1, 6), -10.0)])
    assert scores(LocalRx(neighbours=10), values).argmax() == 80
    assert scores(Rx(), values).argmin() == 80


def test_local_rx_where_neighbours_are_equal() -> None:
    """A row whose neighbours all equal each other is far in units of almost nothing, but finite; they are at 0."""
    values = np.vstack([np.ones((12, 4)), 1.5 * np.ones((1, 4))])
    found = scores(LocalRx(neighbours=5), values)
    assert found.argmax() == 12
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[:12], 0.0)


# ---------------------------------------------------------------------------------------- autoencoder


def low_rank(rows: int, seed: int) -> Floats:
    """Rows (rows, 20) on a plane of three dimensions, the same for every seed, with little noise."""
    rng = np.random.default_rng(seed)
    axes = np.random.default_rng(99).normal(size=(3, 20))
    return rng.normal(size=(rows, 3)) @ axes + 0.05 * rng.normal(size=(rows, 20)) + 30


NETWORK = Autoencoder(rank=4, hidden=32, epochs=40, batch=32, rate=3e-3)


def test_the_autoencoder_learns_what_it_saw() -> None:
    """It reproduces rows like those it saw far better than their mean does, and a row off their plane badly."""
    prior, values = low_rank(400, 0), low_rank(60, 1)
    off = np.random.default_rng(2).normal(size=20)
    values[9] += 6 * off / np.linalg.norm(off)
    found = scores(NETWORK, values, prior)
    others = np.arange(60) != 9
    by_mean = ((values - prior.mean(axis=0)) ** 2).sum(axis=1)
    assert found[others].mean() < 0.2 * by_mean[others].mean()
    assert found.argmax() == 9


def test_the_autoencoder_says_what_it_expected() -> None:
    """score = |x − x̂|² in the features' own units, x̂ + r = x, and μ is the mean of what it saw."""
    prior, values = low_rank(100, 0), low_rank(12, 1)
    for choice in run(NETWORK, values, prior):
        assert choice.expected is not None
        assert choice.residual is not None
        assert choice.mean is not None
        np.testing.assert_allclose(choice.expected + choice.residual, values[choice.row], rtol=1e-12)
        assert choice.score == pytest.approx(float(choice.residual @ choice.residual), rel=1e-9)
        np.testing.assert_allclose(choice.mean, prior.mean(axis=0), rtol=1e-12)


def test_scaling_scales_errors() -> None:
    """All features times 1,024, exactly, and the network is the same: scores are 1,024² times as large, to the bit."""
    values = low_rank(50, 0)
    np.testing.assert_array_equal(scores(NETWORK, 1024 * values), 1024.0**2 * scores(NETWORK, values))


def test_the_autoencoder_is_alone() -> None:
    """The same bits each time, whatever was drawn before and whatever threads there are; it draws no one's numbers."""
    import torch

    values = low_rank(70, 0)
    expected, threads = strategies.told(run(NETWORK, values)), torch.get_num_threads()
    torch.manual_seed(7)
    torch.rand(3)
    state = torch.get_rng_state()
    try:
        torch.set_num_threads(3)
        with torch.no_grad():
            assert strategies.told(run(NETWORK, values)) == expected
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    assert strategies.told(run(Autoencoder(rank=4, hidden=32, seed=1), values)) != expected


# ---------------------------------------------------------------------------------------- oracle


@given(
    labels=st.lists(st.sampled_from(["a", "b", "c", "d", None, ""]), min_size=1, max_size=30), t=st.integers(1, 30)
)  # fmt: skip
def test_the_oracle_is_the_best_there_is(labels: list[str | None], t: int) -> None:
    """nAUC 100 for every t, wherever there is a class; all rows are taken, the first of each class before the rest."""
    values = np.zeros((len(labels), 2))
    selection, rows, told = Oracle().open(values, nothing(values), labels), [], []
    while (choice := selection.peek()) is not None:
        rows.append(choice.row)
        told.append(choice.score)
        selection.learn(choice.row)
    classes = {label for label in labels if label}
    firsts = sorted(labels.index(label) for label in classes)
    assert rows == firsts + [row for row in range(len(labels)) if row not in firsts]
    assert told == [1.0] * len(classes) + [0.0] * (len(labels) - len(classes))
    if classes:
        assert discovery(labels, rows, t).exact == pytest.approx(100)


def test_the_oracle_and_what_is_skipped() -> None:
    """A class is known when one of it was learned or absorbed, whichever row it was; not when one was skipped."""
    values, labels = np.zeros((6, 1)), ["a", "a", "b", None, "b", "c"]
    selection = Oracle().open(values, nothing(values), labels)
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


# ---------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: FarthestFirst(start=-1), "start row"),
        (lambda: NearestNeighbours(k=0), "k must be at least 1, not 0"),
        (lambda: IsolationForest(trees=0), "trees"),
        (lambda: IsolationForest(sample=1), "sample"),
        (lambda: IsolationForest(seed=-1), "seed"),
        (lambda: Rx(rank=-1), "rank"),
        (lambda: Rx(shrink=1.1), "shrink"),
        (lambda: Rx(shrink=float("nan")), "shrink"),
        (lambda: LocalRx(neighbours=1), "neighbours"),
        (lambda: LocalRx(shrink=0.0), "shrink"),
        (lambda: Autoencoder(rank=0), "rank"),
        (lambda: Autoencoder(hidden=0), "hidden"),
        (lambda: Autoencoder(epochs=0), "epochs"),
        (lambda: Autoencoder(batch=0), "batch"),
        (lambda: Autoencoder(rate=0.0), "rate"),
        (lambda: Autoencoder(seed=-1), "seed"),
    ],
)
def test_settings_that_cannot_be(made: Callable[[], object], said: str) -> None:
    """Each is refused when it is made, by name."""
    with pytest.raises(PlanError, match=said):
        made()


# ---------------------------------------------------------------------------------------- rows in memory


@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 12), dimension=st.integers(0, 3)
)  # fmt: skip
def test_an_order_of_values(seed: int, rows: int, dimension: int) -> None:
    """Permuted rows in order are the same matrix (−0 is 0), and equal rows keep their order."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-1, 2, (rows, dimension)) * rng.choice([-0.5, 0.5])
    shuffled = values[rng.permutation(rows)]
    order = held.ordered(values)
    np.testing.assert_array_equal(values[order], shuffled[held.ordered(shuffled)])
    for first, second in pairwise(order):
        assert first < second or (values[first] != values[second]).any()


def test_equal_rows_are_scored_once() -> None:
    """Each distinct row goes to the score once, and the score comes back to all that equal it."""
    values = np.array([[2.0], [1.0], [2.0], [-0.0], [0.0], [1.0]])
    given_ = []

    def score(some: Floats) -> Floats:
        given_.extend(some[:, 0])
        return 10 * some[:, 0]

    np.testing.assert_array_equal(held.by_value(values, score), [20, 10, 20, 0, 0, 10])
    assert sorted(given_) == [0, 1, 2]


def test_parts_cover_all() -> None:
    """Every row is in one part, however large a row is."""
    for count, size in ((0, 5), (7, 1), (10, 1 << 22), (10, 1 << 30), (9, (1 << 22) // 4)):
        parts = held.in_parts(count, size)
        assert [row for part in parts for row in range(count)[part]] == list(range(count))


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of rows that are looked at one by one are those of all together, to the bit."""
    values = normal(30, 6)
    expected = [scores(rival, values) for rival in (NearestNeighbours(), LocalRx(neighbours=7))]
    monkeypatch.setattr(held, "_AT_ONCE", 1)
    for rival, before in zip((NearestNeighbours(), LocalRx(neighbours=7)), expected, strict=True):
        np.testing.assert_array_equal(scores(rival, values), before)
