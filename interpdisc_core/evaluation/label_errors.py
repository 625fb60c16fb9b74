"""Label errors: which images do not belong to the class of their label.

Wagstaff & Lee 2018 observe that DEMUD within a class shows the images that do not belong to it. Here that is a ranking
over all classes (`WithinClassDemud`), next to two common methods: neighbors with another label (`NeighborDisagreement`)
and confident learning (`ConfidentLearning`). How well each works is measured with planted wrong labels
(`plant_label_errors`, `score_detection`).

To add a method: write a class with `@settings`, a `kind`, `least` and `score_rows`, and add it to `LabelErrorMethod` below.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from interpdisc_core._types import FloatArray, IndexArray
from interpdisc_core.errors import PlanError
from interpdisc_core.metrics.discovery import Labels
from interpdisc_core.metrics.outlier_ranking import expected_average_precision, precision_at, ranking_scores
from interpdisc_core.selectors._in_memory import canonical_order
from interpdisc_core.selectors.decision import PLAIN_SCORE, ZERO_RTOL, Subspace
from interpdisc_core.selectors.demud import Demud
from interpdisc_core.selectors.neighbors import compute_squared_distances, find_neighbors
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.settings import settings

_Count = Annotated[int, Field(ge=1)]
_ClassSize = Annotated[int, Field(ge=2)]

SUGGESTION_NEIGHBORS = 10
"""Neighbors whose labels decide which label is suggested."""


@settings
class WithinClassDemud:
    """How badly a model of its class's typical images reconstructs an image: |x − x̂|², comparable over all classes.

    Attributes:
        core: Share of a class's rows, those nearest to its mean, that DEMUD takes as known. 0 is DEMUD without a prior,
            as in the paper; it finds far fewer wrong labels, since it learns the first wrong ones that it picks, and
            typical images are then as new as these.
        method: `static`: one model of the core. `full`, `incremental`: the model also learns each row after it was
            scored, so that of several similar images only the first is suspicious. Rows of the core have the error of
            the static model.
        rank: Components of the model, k; at most half the features are used, as nothing is new to a model of all.
        least: Images that a class needs for its images to be suspects, at least 2.

    Scores are not divided by those usual in a class: that finds fewer wrong labels.

    Raises:
        PlanError: If a value is out of range.
    """

    kind: Literal["within-class"] = "within-class"
    core: Annotated[float, Field(ge=0, lt=1)] = 0.8
    method: Literal["static", "full", "incremental"] = "static"
    rank: _Count = 50
    least: _ClassSize = 5

    def score_rows(self, values: FloatArray, classes: IndexArray) -> FloatArray:
        """Suspicion (n,) of rows (n, d), 0 or more, by the numbers of their classes (n,); higher is more suspicious."""
        scores = np.zeros(len(values))
        for rows in _rows_by_class(classes, self.least):
            scores[rows] = self._score_class(values[rows])
        return scores

    def _score_class(self, rows: FloatArray) -> FloatArray:
        core_size, rank = int(self.core * len(rows)), max(1, min(self.rank, rows.shape[1] // 2))
        offsets = rows - rows.mean(axis=0)
        by_distance = np.argsort(np.einsum("nd,nd->n", offsets, offsets), kind="stable")
        core, rest, scores = by_distance[:core_size], np.sort(by_distance[core_size:]), np.zeros(len(rows))
        if core_size:
            scores[:] = _reconstruction_errors(Prior.from_items(rows[core]), rows, rank)
        if self.method != "static" or not core_size:
            scores[rest] = _novelty_scores(Demud(method=self.method, rank=rank), rows[rest], rows[core])
        return scores


@settings
class NeighborDisagreement:
    """The share of an image's k nearest images that have another label; equal shares are ranked by how near those are.

    Attributes:
        k: Neighbors.
        least: As in `WithinClassDemud`.

    Raises:
        PlanError: If a value is out of range.
    """

    kind: Literal["neighbours"] = "neighbours"
    k: _Count = 10
    least: _ClassSize = 5

    def score_rows(self, values: FloatArray, classes: IndexArray) -> FloatArray:
        """Suspicion (n,) of rows (n, d), 0 to 1, by the numbers of their classes (n,); higher is more suspicious."""
        neighbors, distances = _nearest_neighbors(values, self.k)
        is_other_label = classes[neighbors] != classes[:, None]
        other_count = is_other_label.sum(axis=1)
        mean_distance = (distances * is_other_label).sum(axis=1) / np.maximum(other_count, 1)
        median_distance = float(np.median(distances)) or 1.0
        # Less than one more neighbor counts, so that it decides between equal shares only.
        scores: FloatArray = (
            other_count + (other_count > 0) * median_distance / (2 * median_distance + mean_distance)
        ) / (neighbors.shape[1] + 1)
        return scores


@settings
class ConfidentLearning:
    """Confident learning: 1 − the probability of an image's label by a classifier that was not trained on the image.

    Logistic regression on principal components of standardized features, cross-validated over folds with the same share
    of each class; ranked by the self-confidence of Northcutt, Jiang & Chuang 2021, "Confident learning: estimating
    uncertainty in dataset labels".

    Attributes:
        components: Principal components, at most.
        folds: Parts of the cross-validation, 2 to `least`.
        strength: Inverse of the regularization, above 0.
        least: As in `WithinClassDemud`; smaller classes are not learned.
        seed: Of the folds.

    Raises:
        PlanError: If a value is out of range.
    """

    kind: Literal["confident"] = "confident"
    components: _Count = 64
    folds: Annotated[int, Field(ge=2)] = 5
    strength: Annotated[float, Field(gt=0)] = 0.1
    least: _ClassSize = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds > self.least:
            raise PlanError(f"confident: folds must be at most `least` ({self.least}), not {self.folds}.")

    def score_rows(self, values: FloatArray, classes: IndexArray) -> FloatArray:
        """Suspicion (n,) of rows (n, d), 0 to 1, by the numbers of their classes (n,); higher is more suspicious."""
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
        from sklearn.preprocessing import StandardScaler

        scores, groups = np.zeros(len(values)), _rows_by_class(classes, self.least)
        if len(groups) < 2:  # no other label
            return scores
        rows = np.concatenate(groups)
        rows = rows[canonical_order(values[rows])]  # the folds must not depend on the order of the rows
        class_indices = np.unique(classes[rows], return_inverse=True)[1]
        standardized = StandardScaler().fit_transform(values[rows])
        component_count = min(self.components, *standardized.shape)
        pca = PCA(
            component_count, svd_solver="covariance_eigh" if len(standardized) > standardized.shape[1] else "full"
        )
        probability = cross_val_predict(
            LogisticRegression(C=self.strength, max_iter=500),
            pca.fit_transform(standardized),
            class_indices,
            cv=StratifiedKFold(self.folds, shuffle=True, random_state=self.seed),
            method="predict_proba",
        )
        scores[rows] = 1.0 - probability[np.arange(len(rows)), class_indices]
        return scores


LabelErrorMethod = Annotated[WithinClassDemud | NeighborDisagreement | ConfidentLearning, Field(discriminator="kind")]


@dataclass(frozen=True)
class SuspectRanking:
    """Images by falling suspicion.

    Attributes:
        order: Rows (n,) of the collection, only of classes with enough images; equally suspicious ones by number.
        scores: Suspicion (n,), higher is more suspicious; comparable within one method only.
        suggested_labels: The most frequent label among the nearest labeled images (n), the nearest's if several are as
            frequent; often the image's own.
        neighbors: Rows (n, k) of those images, nearest first.
    """

    order: IndexArray
    scores: FloatArray
    suggested_labels: list[str]
    neighbors: IndexArray


def rank_suspects(
    values: npt.ArrayLike, labels: Labels, method: WithinClassDemud | NeighborDisagreement | ConfidentLearning
) -> SuspectRanking:
    """Rank images by how little they seem to belong to their class.

    Args:
        values: Features (N, d).
        labels: Labels (N); rows without one are no suspects and are not used.
        method: Whose suspicion is used. The order of the rows matters to ties only.

    Raises:
        PlanError: If no row has a label, or no class has as many images as the method needs (`least`).
    """
    labeled_rows = np.array([row for row, label in enumerate(labels) if label], dtype=np.intp)
    if not len(labeled_rows):
        raise PlanError("label errors: no image has a label; give a CSV with --labels, or `--labels folder`.")
    rows = np.asarray(values, dtype=np.float64)[labeled_rows]
    row_labels = [str(labels[row]) for row in labeled_rows]
    classes = np.unique(row_labels, return_inverse=True)[1].astype(np.intp)
    has_enough = np.bincount(classes)[classes] >= method.least
    if not has_enough.any():
        raise PlanError(f"label errors: no class has {method.least} images; give more images, or lower `least`.")
    scores = method.score_rows(rows, classes)
    order = np.argsort(-scores, kind="stable")
    order = order[has_enough[order]]
    neighbors = _nearest_neighbors(rows, SUGGESTION_NEIGHBORS)[0]
    suggested = [_most_frequent([row_labels[other] for other in neighbors[row]], row_labels[row]) for row in order]
    return SuspectRanking(labeled_rows[order], scores[order], suggested, labeled_rows[neighbors[order]])


def plant_label_errors(labels: Labels, rate: float, seed: int) -> tuple[list[str | None], IndexArray]:
    """Make a share of the labels wrong.

    Args:
        labels: Labels (N); rows without one stay so.
        rate: Share of the labeled rows, above 0 and below 1.
        seed: Of which rows, uniform over the labeled ones, and of the wrong labels, uniform over the other classes.

    Returns:
        The labels (N), and the rows (m,) that are wrong, rising: rate · labeled rows, rounded, at least 1.

    Raises:
        PlanError: If the rate is out of range, or there are fewer than two classes.
    """
    labeled_rows = [row for row, label in enumerate(labels) if label]
    class_names = sorted({label for label in labels if label})
    if not 0 < rate < 1:
        raise PlanError(f"label errors: the rate of wrong labels must be above 0 and below 1, not {rate}.")
    if len(class_names) < 2:
        raise PlanError(f"label errors: wrong labels need at least two classes, not {len(class_names)}.")
    rng, noisy_labels = np.random.default_rng(seed), list(labels)
    wrong_rows = np.sort(rng.permutation(labeled_rows)[: max(1, round(rate * len(labeled_rows)))]).astype(np.intp)
    for row in wrong_rows:
        other_names = [name for name in class_names if name != labels[row]]
        noisy_labels[row] = other_names[int(rng.integers(len(other_names)))]
    return noisy_labels, wrong_rows


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """How well planted errors were found.

    Only planted errors count as found, so an error that the labels had before counts against a method. A planted error
    among images that are no suspects counts as not found.

    Attributes:
        planted: Planted errors.
        precision: Share of them among as many of the most suspicious images, 0 to 1; higher is better.
        random: Expectation of `precision` for a random order of all labeled images.
        average_precision: Of the ranking, 0 to 1; higher is better.
        average_precision_random: Its expectation for a random order.
    """

    planted: int
    precision: float
    random: float
    average_precision: float
    average_precision_random: float


def score_detection(ranking: SuspectRanking, wrong_rows: npt.ArrayLike, labeled_count: int) -> DetectionScores:
    """Score a ranking of images whose labels have planted errors.

    Args:
        ranking: From `rank_suspects`, with the planted labels.
        wrong_rows: Rows (m,) of the planted errors, m ≥ 1.
        labeled_count: Images with a label.
    """
    wrong_count = len(np.asarray(wrong_rows))
    is_hit = np.isin(ranking.order, wrong_rows)
    is_wrong = np.zeros(labeled_count, dtype=bool)
    is_wrong[: len(is_hit)] = is_hit
    is_wrong[len(is_hit) : len(is_hit) + wrong_count - int(is_hit.sum())] = (
        True  # counted as ranked last, in random order
    )
    average_precision = ranking_scores(is_wrong, range(len(is_hit)))[1]
    assert average_precision is not None
    return DetectionScores(
        wrong_count,
        precision_at(is_hit, wrong_count),
        wrong_count / labeled_count,
        average_precision,
        expected_average_precision(wrong_count, labeled_count) or 0.0,
    )


def _reconstruction_errors(prior: Prior, rows: FloatArray, rank: int) -> FloatArray:
    """|x − x̂|² (n,) of rows (n, d) by one model: the scores of a static DEMUD, all at once; 0 if only rounding."""
    model, offsets = Subspace(prior.mean, prior.axes[:rank]), rows - prior.mean
    errors = PLAIN_SCORE.score(np.array([model.compute_residual(row) for row in rows]))
    return np.where(errors > ZERO_RTOL * PLAIN_SCORE.score(offsets).max(), errors, 0.0)


def _novelty_scores(settings: Demud, rows: FloatArray, prior_rows: FloatArray) -> FloatArray:
    """The score (n,) of each row (n, d) when it is picked, after a prior of rows (n0, d); 0 if it is never picked."""
    scores, selection = np.zeros(len(rows)), settings.open(rows, prior_rows)
    while (choice := selection.peek()) is not None:
        scores[choice.row] = choice.score
        selection.learn(choice.row)
    return scores


def _rows_by_class(classes: IndexArray, min_size: int) -> list[IndexArray]:
    """The rows of each class that has at least `min_size`."""
    groups = [np.flatnonzero(classes == number) for number in range(int(classes.max(initial=-1)) + 1)]
    return [rows for rows in groups if len(rows) >= min_size]


def _nearest_neighbors(values: FloatArray, count: int) -> tuple[IndexArray, FloatArray]:
    """The nearest other rows (n, k) of each row, nearest first, equally near ones by number; and their distances (n, k)."""
    neighbors = find_neighbors(values, None, count)
    distances = np.sqrt(compute_squared_distances(values, values, neighbors))
    order = np.lexsort((neighbors, distances))
    return np.take_along_axis(neighbors, order, axis=1), np.take_along_axis(distances, order, axis=1)


def _most_frequent(names: list[str], own: str) -> str:
    """The most frequent name, the earliest if several are as frequent; `own` without names."""
    return Counter(names).most_common(1)[0][0] if names else own
