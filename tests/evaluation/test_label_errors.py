"""Label errors: wrong labels far from their class rank first, planted ones are counted correctly, and order does not matter."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation.label_errors import (
    ConfidentLearning,
    LabelErrorMethod,
    NeighborDisagreement,
    SuspectRanking,
    WithinClassDemud,
    plant_label_errors,
    rank_suspects,
    score_detection,
)
from interpdisc_core.selectors import Demud

KINDS = get_args(get_args(LabelErrorMethod)[0])
METHODS = [
    *(kind() for kind in KINDS),
    WithinClassDemud(method="full"),
    WithinClassDemud(core=0, method="full", rank=3),
    NeighborDisagreement(k=3),
]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method}")
LabeledRows = tuple[np.ndarray, list[str | None]]


def clusters(seed: int, classes: int = 3, images: int = 20, dimension: int = 8) -> LabeledRows:
    """Classes far from each other, and their true labels."""
    rng = np.random.default_rng(seed)
    centres = 20 * np.eye(dimension)[:classes]
    values = np.repeat(centres, images, axis=0) + rng.normal(size=(classes * images, dimension))
    return values, [f"class {row // images}" for row in range(classes * images)]


def test_every_kind_of_method_is_tested() -> None:
    assert {type(method) for method in METHODS} == set(KINDS)


@every_method
@pytest.mark.parametrize(("seed", "row", "shift"), [(0, 0, 1), (1, 19, 2), (2, 31, 1), (3, 40, 2), (4, 59, 1)])
def test_an_image_far_from_its_class_ranks_first_and_the_class_of_its_neighbors_is_suggested(
    method: Any, seed: int, row: int, shift: int
) -> None:
    values, labels = clusters(seed)
    labels[row] = f"class {(row // 20 + shift) % 3}"
    ranking = rank_suspects(values, labels, method)
    assert ranking.order[0] == row
    assert ranking.suggested_labels[0] == f"class {row // 20}"
    assert set(ranking.neighbors[0] // 20) == {row // 20}
    assert sorted(ranking.order) == list(range(60))
    assert (np.diff(ranking.scores) <= 0).all()
    assert row not in ranking.neighbors[0]


@every_method
@pytest.mark.parametrize("seed", range(3))
def test_the_ranking_does_not_depend_on_the_order_of_rows(method: Any, seed: int) -> None:
    values, truth = clusters(seed, images=12)
    labels, _ = plant_label_errors(truth, 0.1, seed)
    moved = np.random.default_rng(seed).permutation(len(values))
    ranking = rank_suspects(values, labels, method)
    moved_ranking = rank_suspects(values[moved], [labels[row] for row in moved], method)
    repeated = rank_suspects(values, labels, method)
    assert repeated.order.tolist() == ranking.order.tolist()
    assert repeated.scores.tobytes() == ranking.scores.tobytes()
    scores = dict(zip(ranking.order.tolist(), ranking.scores, strict=True))
    for place, row in enumerate(moved[moved_ranking.order]):
        at = int(np.flatnonzero(ranking.order == row)[0])
        assert moved_ranking.scores[place] == pytest.approx(scores[row], rel=1e-6, abs=1e-6)
        assert moved_ranking.suggested_labels[place] == ranking.suggested_labels[at]
        assert moved[moved_ranking.neighbors[place]].tolist() == ranking.neighbors[at].tolist()


@every_method
def test_unlabeled_rows_and_small_classes_are_never_suspects(method: Any) -> None:
    """A small class may be suggested; unlabeled rows do not change the ranking."""
    values, labels = clusters(1)
    alone = np.full((4, 8), 50.0) + np.arange(4)[:, None]
    values = np.concatenate([values, alone, values[:1]])
    labels = [*labels, "one", "four", "four", "four", None]
    labels[0] = "class 1"
    ranking = rank_suspects(values, labels, method)
    assert sorted(ranking.order) == list(range(60))
    assert ranking.order[0] == 0
    assert ranking.suggested_labels[0] == "class 0"
    assert 64 not in ranking.neighbors
    without_unlabeled = rank_suspects(values[:64], labels[:64], method)
    assert (without_unlabeled.order.tolist(), without_unlabeled.scores.tobytes()) == (
        ranking.order.tolist(),
        ranking.scores.tobytes(),
    )


def test_scores_within_a_class_are_those_of_static_demud_with_the_core_as_prior() -> None:
    """The core: the four fifths of the rows nearest to the class's mean."""
    values, labels = clusters(4, classes=2, images=25)
    ranking = rank_suspects(values, labels, WithinClassDemud(rank=3))
    expected = np.zeros(50)
    for rows in (np.arange(25), np.arange(25, 50)):
        far = np.linalg.norm(values[rows] - values[rows].mean(axis=0), axis=1)
        core = rows[np.argsort(far)[:20]]
        selection = Demud(method="static", rank=3).open(values[rows], values[core])
        while (choice := selection.peek()) is not None:
            expected[rows[choice.row]] = choice.score
            selection.learn(choice.row)
    np.testing.assert_allclose(ranking.scores, expected[ranking.order], rtol=1e-9, atol=1e-9)


def test_of_two_equal_images_the_full_method_suspects_one_and_the_static_both() -> None:
    values, labels = clusters(2, classes=1, images=30)
    values = np.concatenate([values, np.full((2, 8), -30.0)])
    labels = [*labels, "class 0", "class 0"]
    static, full = (rank_suspects(values, labels, WithinClassDemud(method=method)) for method in ("static", "full"))
    assert set(static.order[:2]) == {30, 31}
    assert static.scores[0] == pytest.approx(static.scores[1])
    assert full.order[0] == 30
    assert full.scores[full.order == 31] < 1e-4 * full.scores[0]


def test_neighbor_disagreement_by_hand() -> None:
    """On a line, k = 2: 2 of 2 other labels rank above 1 of 2; of the rows with 1, those with the nearer other first."""
    values = np.array([[0.0], [1.0], [1.4], [2.1], [9.0], [10.0], [11.5], [13.0]])
    labels = ["a", "a", "b", "a", "b", "b", "b", "b"]
    ranking = rank_suspects(values, labels, NeighborDisagreement(k=2, least=2))
    assert ranking.order[0] == 2  # 1 and 2.1 are a
    assert ranking.order[1:4].tolist() == [1, 3, 0]  # 1.4 is at 0.4, 0.7 and 1.4
    assert (ranking.scores[:4] * 3).astype(int).tolist() == [2, 1, 1, 1]
    assert (ranking.scores[4:] == 0).all()


@given(
    st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=40), st.floats(0.01, 0.99), st.integers(0, 9)
)
def test_planted_labels_are_wrong_and_all_others_unchanged(labels: list[str | None], rate: float, seed: int) -> None:
    names = {label for label in labels if label}
    if len(names) < 2:
        with pytest.raises(PlanError, match="two classes"):
            plant_label_errors(labels, rate, seed)
        return
    wrong, which = plant_label_errors(labels, rate, seed)
    assert [row for row in range(len(labels)) if wrong[row] != labels[row]] == which.tolist()
    assert {wrong[row] for row in which} <= names
    assert all(labels[row] for row in which)
    assert len(which) == max(1, round(rate * sum(map(bool, labels))))
    again = plant_label_errors(labels, rate, seed)
    assert (again[0], again[1].tolist()) == (wrong, which.tolist())


def test_planted_labels_are_uniform_over_rows_and_other_classes() -> None:
    """Over 600 draws, whatever the sizes of the classes."""
    labels: list[str | None] = ["a"] * 16 + ["b"] * 3 + ["c"]
    chosen, became = np.zeros(20), {"b": 0, "c": 0}
    for seed in range(600):
        wrong, which = plant_label_errors(labels, 0.2, seed)
        chosen[which] += 1
        for row in which[which < 16]:
            became[str(wrong[row])] += 1
    np.testing.assert_allclose(chosen / 600, 0.2, atol=4.5 * np.sqrt(0.16 / 600))
    total = sum(became.values())
    assert became["b"] / total == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / total))


def ranked(order: list[int]) -> SuspectRanking:
    return SuspectRanking(
        np.array(order), -np.arange(len(order), dtype=float), [""] * len(order), np.empty((len(order), 0), int)
    )


def test_a_rank_above_the_number_of_features_still_ranks_rows() -> None:
    """And scores that are only rounding are 0."""
    values, labels = clusters(3, classes=1)
    values[7] += 5
    ranking = rank_suspects(values, labels, WithinClassDemud(rank=50))
    assert ranking.order[0] == 7
    assert ranking.scores[0] > 10
    flat = np.repeat(np.arange(20.0)[:, None], 8, axis=1) / 3  # on a line: a model of one direction has all
    assert (rank_suspects(flat, labels, WithinClassDemud()).scores == 0).all()


def test_detection_by_hand() -> None:
    """Two planted of five, at ranks 1 and 3; then one of them among images that are no suspects."""
    scores = score_detection(ranked([4, 0, 2, 1, 3]), [2, 4], 5)
    assert (scores.planted, scores.precision, scores.random) == (2, 0.5, 0.4)
    assert scores.average_precision == pytest.approx((1 + 2 / 3) / 2)
    partial = score_detection(ranked([4, 0, 1]), [2, 4], 5)  # the other one is fourth or fifth
    assert partial.precision == 0.5
    assert partial.average_precision == pytest.approx((1 + (2 / 4 + 2 / 5) / 2) / 2)


def test_a_random_order_detects_at_the_rate() -> None:
    """500 random orders of 200 images with ten planted: within four standard errors of both expectations."""
    rng = np.random.default_rng(5)
    detections = [score_detection(ranked(rng.permutation(200).tolist()), np.arange(10), 200) for _ in range(500)]
    for name, expected in (
        ("precision", detections[0].random),
        ("average_precision", detections[0].average_precision_random),
    ):
        values = np.array([getattr(detection, name) for detection in detections])
        assert values.mean() == pytest.approx(expected, abs=4 * values.std() / np.sqrt(500))
    assert detections[0].random == 0.05


@every_method
def test_every_method_finds_planted_errors(method: Any) -> None:
    """A twentieth of the labels wrong: each finds at least eight times as many as a random order."""
    values, truth = clusters(6, images=60)
    labels, which = plant_label_errors(truth, 0.05, 6)
    assert score_detection(rank_suspects(values, labels, method), which, 180).precision >= 0.4


@every_method
def test_without_labels_or_large_classes_ranking_is_refused(method: Any) -> None:
    values, labels = clusters(0, images=4)
    with pytest.raises(PlanError, match="no image has a label"):
        rank_suspects(values, [None] * 12, method)
    with pytest.raises(PlanError, match="no class has 5 images"):
        rank_suspects(values, labels, method)
    with pytest.raises(PlanError, match="no class has"):
        rank_suspects(values, [str(row) for row in range(12)], method)


@every_method
def test_a_single_class_is_ranked_and_its_own_label_suggested(method: Any) -> None:
    values, labels = clusters(0, classes=1)
    ranking = rank_suspects(values, labels, method)
    assert sorted(ranking.order) == list(range(20))
    assert set(ranking.suggested_labels) == {"class 0"}


def test_settings_out_of_range_are_refused() -> None:
    for settings in (
        lambda: WithinClassDemud(core=1),
        lambda: WithinClassDemud(rank=0),
        lambda: WithinClassDemud(least=1),
        lambda: NeighborDisagreement(k=0),
        lambda: NeighborDisagreement(least=1),
        lambda: ConfidentLearning(folds=6),
        lambda: ConfidentLearning(components=0),
        lambda: ConfidentLearning(strength=0),
    ):
        with pytest.raises(PlanError):
            settings()
    for rate in (0, 1):
        with pytest.raises(PlanError, match="above 0 and below 1"):
            plant_label_errors(["a", "b"], rate, 0)
