"""Label errors: intruders that are far come first, planted ones are counted right, and nothing else matters to a ranking."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.lab.label_errors import (
    Confident,
    Method,
    Neighbours,
    Suspicion,
    WithinClass,
    detection,
    planted,
    suspects,
)
from interpdisc_core.selectors import Demud

KINDS = get_args(get_args(Method)[0])
METHODS = [
    *(kind() for kind in KINDS),
    WithinClass(method="full"),
    WithinClass(core=0, method="full", rank=3),
    Neighbours(k=3),
]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method}")
Labelled = tuple[np.ndarray, list[str | None]]


def clusters(seed: int, classes: int = 3, images: int = 20, dimension: int = 8) -> Labelled:
    """Classes far from each other, and their true labels."""
    rng = np.random.default_rng(seed)
    centres = 20 * np.eye(dimension)[:classes]
    values = np.repeat(centres, images, axis=0) + rng.normal(size=(classes * images, dimension))
    return values, [f"class {row // images}" for row in range(classes * images)]


def test_every_kind_is_tried() -> None:
    assert {type(method) for method in METHODS} == set(KINDS)


@every_method
@pytest.mark.parametrize(("seed", "row", "shift"), [(0, 0, 1), (1, 19, 2), (2, 31, 1), (3, 40, 2), (4, 59, 1)])
def test_an_intruder_far_from_its_class_is_first(method: Any, seed: int, row: int, shift: int) -> None:
    """And the class of its neighbours is suggested for it; these are rows of that class."""
    values, labels = clusters(seed)
    labels[row] = f"class {(row // 20 + shift) % 3}"
    found = suspects(values, labels, method)
    assert found.order[0] == row
    assert found.suggested[0] == f"class {row // 20}"
    assert set(found.neighbours[0] // 20) == {row // 20}
    assert sorted(found.order) == list(range(60))
    assert (np.diff(found.score) <= 0).all()
    assert row not in found.neighbours[0]


@every_method
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_does_not_matter(method: Any, seed: int) -> None:
    """Each image has the same suspicion, suggestion and neighbours wherever it stands, and in every run."""
    values, truth = clusters(seed, images=12)
    labels, _ = planted(truth, 0.1, seed)
    moved = np.random.default_rng(seed).permutation(len(values))
    here = suspects(values, labels, method)
    there = suspects(values[moved], [labels[row] for row in moved], method)
    again = suspects(values, labels, method)
    assert again.order.tolist() == here.order.tolist()
    assert again.score.tobytes() == here.score.tobytes()
    scores = dict(zip(here.order.tolist(), here.score, strict=True))
    for place, row in enumerate(moved[there.order]):
        at = int(np.flatnonzero(here.order == row)[0])
        assert there.score[place] == pytest.approx(scores[row], rel=1e-6, abs=1e-6)
        assert there.suggested[place] == here.suggested[at]
        assert moved[there.neighbours[place]].tolist() == here.neighbours[at].tolist()


@every_method
def test_what_has_no_label_and_small_classes(method: Any) -> None:
    """Neither is ever suspected; a small class may be what is suggested, and what has no label tells nothing."""
    values, labels = clusters(1)
    alone = np.full((4, 8), 50.0) + np.arange(4)[:, None]
    values = np.concatenate([values, alone, values[:1]])
    labels = [*labels, "one", "four", "four", "four", None]
    labels[0] = "class 1"
    found = suspects(values, labels, method)
    assert sorted(found.order) == list(range(60))
    assert found.order[0] == 0
    assert found.suggested[0] == "class 0"
    assert 64 not in found.neighbours
    bare = suspects(values[:64], labels[:64], method)
    assert (bare.order.tolist(), bare.score.tobytes()) == (found.order.tolist(), found.score.tobytes())


def test_a_model_of_the_core_is_static_demud_with_a_background() -> None:
    """The literal reading: the four fifths nearest to the class's mean are the prior; scores are of what DEMUD ranks."""
    values, labels = clusters(4, classes=2, images=25)
    found = suspects(values, labels, WithinClass(rank=3))
    expected = np.zeros(50)
    for rows in (np.arange(25), np.arange(25, 50)):
        far = np.linalg.norm(values[rows] - values[rows].mean(axis=0), axis=1)
        core = rows[np.argsort(far)[:20]]
        selection = Demud(method="static", rank=3).open(values[rows], values[core])
        while (choice := selection.peek()) is not None:
            expected[rows[choice.row]] = choice.score
            selection.learn(choice.row)
    np.testing.assert_allclose(found.score, expected[found.order], rtol=1e-9, atol=1e-9)


def test_of_two_alike_the_full_method_suspects_one() -> None:
    """The second holds little that is new once the first is learned; a model of the core alone suspects both."""
    values, labels = clusters(2, classes=1, images=30)
    values = np.concatenate([values, np.full((2, 8), -30.0)])
    labels = [*labels, "class 0", "class 0"]
    static, full = (suspects(values, labels, WithinClass(method=method)) for method in ("static", "full"))
    assert set(static.order[:2]) == {30, 31}
    assert static.score[0] == pytest.approx(static.score[1])
    assert full.order[0] == 30
    assert full.score[full.order == 31] < 1e-4 * full.score[0]


def test_neighbours_by_hand() -> None:
    """On a line, k = 2: 2 of 2 others is above 1 of 2; of the rows with 1, the one whose other neighbour is nearer."""
    values = np.array([[0.0], [1.0], [1.4], [2.1], [9.0], [10.0], [11.5], [13.0]])
    labels = ["a", "a", "b", "a", "b", "b", "b", "b"]
    found = suspects(values, labels, Neighbours(k=2, least=2))
    assert found.order[0] == 2  # 1 and 2.1 are a
    assert found.order[1:4].tolist() == [1, 3, 0]  # 1.4 is at 0.4, 0.7 and 1.4
    assert (found.score[:4] * 3).astype(int).tolist() == [2, 1, 1, 1]
    assert (found.score[4:] == 0).all()


@given(
    st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=40), st.floats(0.01, 0.99), st.integers(0, 9)
)
def test_planted_labels_are_wrong_and_the_rest_is_as_it_was(labels: list[str | None], rate: float, seed: int) -> None:
    names = {label for label in labels if label}
    if len(names) < 2:
        with pytest.raises(PlanError, match="two classes"):
            planted(labels, rate, seed)
        return
    wrong, which = planted(labels, rate, seed)
    assert [row for row in range(len(labels)) if wrong[row] != labels[row]] == which.tolist()
    assert {wrong[row] for row in which} <= names
    assert all(labels[row] for row in which)
    assert len(which) == max(1, round(rate * sum(map(bool, labels))))
    again = planted(labels, rate, seed)
    assert (again[0], again[1].tolist()) == (wrong, which.tolist())


def test_planted_labels_are_uniform() -> None:
    """Over 600 draws each row is as often chosen as another, and becomes each other class as often, however large it is."""
    labels: list[str | None] = ["a"] * 16 + ["b"] * 3 + ["c"]
    chosen, became = np.zeros(20), {"b": 0, "c": 0}
    for seed in range(600):
        wrong, which = planted(labels, 0.2, seed)
        chosen[which] += 1
        for row in which[which < 16]:
            became[str(wrong[row])] += 1
    np.testing.assert_allclose(chosen / 600, 0.2, atol=4.5 * np.sqrt(0.16 / 600))
    total = sum(became.values())
    assert became["b"] / total == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / total))


def ranked(order: list[int]) -> Suspicion:
    return Suspicion(
        np.array(order), -np.arange(len(order), dtype=float), [""] * len(order), np.empty((len(order), 0), int)
    )


def test_a_rank_beyond_the_features_still_tells_rows_apart() -> None:
    """To a model of all eight features nothing would be new; what only rounds is no suspicion."""
    values, labels = clusters(3, classes=1)
    values[7] += 5
    found = suspects(values, labels, WithinClass(rank=50))
    assert found.order[0] == 7
    assert found.score[0] > 10
    flat = np.repeat(np.arange(20.0)[:, None], 8, axis=1) / 3  # on a line: a model of one direction has all
    assert (suspects(flat, labels, WithinClass()).score == 0).all()


def test_detection_by_hand() -> None:
    """Two planted of five, at places 1 and 3; then one of them among images that are no suspects."""
    found = detection(ranked([4, 0, 2, 1, 3]), [2, 4], 5)
    assert (found.planted, found.precision, found.random) == (2, 0.5, 0.4)
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2)
    lost = detection(ranked([4, 0, 1]), [2, 4], 5)  # the other is fourth or fifth
    assert lost.precision == 0.5
    assert lost.average_precision == pytest.approx((1 + (2 / 4 + 2 / 5) / 2) / 2)


def test_chance_detects_at_the_rate() -> None:
    """500 random orders of 200 images with ten planted: within four standard errors of both expectations."""
    rng = np.random.default_rng(5)
    every = [detection(ranked(rng.permutation(200).tolist()), np.arange(10), 200) for _ in range(500)]
    for name, expected in (("precision", every[0].random), ("average_precision", every[0].average_precision_random)):
        some = np.array([getattr(found, name) for found in every])
        assert some.mean() == pytest.approx(expected, abs=4 * some.std() / np.sqrt(500))
    assert every[0].random == 0.05


@every_method
def test_every_method_finds_planted_errors(method: Any) -> None:
    """A twentieth of the labels wrong: even the weakest finds at least eight times what chance does."""
    values, truth = clusters(6, images=60)
    labels, which = planted(truth, 0.05, 6)
    assert detection(suspects(values, labels, method), which, 180).precision >= 0.4


@every_method
def test_nothing_to_suspect(method: Any) -> None:
    values, labels = clusters(0, images=4)
    with pytest.raises(PlanError, match="no image has a label"):
        suspects(values, [None] * 12, method)
    with pytest.raises(PlanError, match="no class has 5 images"):
        suspects(values, labels, method)
    with pytest.raises(PlanError, match="no class has"):
        suspects(values, [str(row) for row in range(12)], method)


@every_method
def test_one_class_alone(method: Any) -> None:
    """No label can be confused, but an image can still be far from its class; no suggestion is made but its own."""
    values, labels = clusters(0, classes=1)
    found = suspects(values, labels, method)
    assert sorted(found.order) == list(range(20))
    assert set(found.suggested) == {"class 0"}


def test_settings_that_cannot_be() -> None:
    for settings in (
        lambda: WithinClass(core=1), lambda: WithinClass(rank=0), lambda: WithinClass(least=1), lambda: Neighbours(k=0),
        lambda: Neighbours(least=1), lambda: Confident(folds=6), lambda: Confident(components=0), lambda: Confident(strength=0),
    ):  # fmt: skip
        with pytest.raises(PlanError):
            settings()
    for rate in (0, 1):
        with pytest.raises(PlanError, match="between 0 and 1"):
            planted(["a", "b"], rate, 0)
