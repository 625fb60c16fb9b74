"""Label errors: which images do not belong to the class that they are labelled with.

Wagstaff & Lee 2018 close with the observation that DEMUD within a class shows the images that do not belong. Here it is
made a ranking over all classes (`WithinClass`), beside two that are common: neighbours of another label (`Neighbours`)
and confident learning (`Confident`). How well each works is measured with wrong labels that are planted (`planted`,
`detection`).

To add one: write a frozen dataclass with a `kind`, `least` and `scores`, and name it in `Method` below.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from interpdisc_core.errors import PlanError
from interpdisc_core.outliers import expected_average_precision, precision_at, ranking_scores
from interpdisc_core.selectors.choice import NOTHING, PLAIN, Subspace
from interpdisc_core.selectors.demud import Demud
from interpdisc_core.selectors.held import nearest, ordered, squared_to
from interpdisc_core.selectors.seen import Seen

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Labels = Sequence[str | None]

SHOWN = 10
"""Neighbours by which another label is suggested."""


@dataclass(frozen=True, kw_only=True)
class WithinClass:
    """How badly a model of its own class's typical images reconstructs an image: |x − x̂|², as it is, in all classes.

    core: the share of a class's rows, those nearest to its mean, that DEMUD takes as known before. 0 is DEMUD from
    nothing, as in the paper: of wrong labels it finds far less, since it learns the first intruders that it meets and
    what is typical is then as new as they are. method: `static`, one model of the core; `full` also learns each row after
    its turn, so that of several alike only the first is suspicious. Rows of the core come with the error of that model.
    rank: k of the model, at most half the features: to one of all of them nothing is new. least: images of a class for its images to be suspects. Scores are not divided by what is usual
    in a class: that finds less, too.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["within-class"] = "within-class"
    core: float = 0.8
    method: Literal["static", "full", "incremental"] = "static"
    rank: int = 50
    least: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.core < 1:
            raise PlanError(f"within-class: core must be a share from 0 to below 1, not {self.core}.")
        if self.rank < 1:
            raise PlanError(f"within-class: rank must be at least 1, not {self.rank}.")
        _at_least_two(self.kind, self.least)

    def scores(self, values: Floats, classes: Index) -> Floats:
        """Suspicion (n,) of rows (n, d), 0 or more, by their classes' numbers (n,)."""
        scores = np.zeros(len(values))
        for rows in _rows_of(classes, self.least):
            scores[rows] = self._of_class(values[rows])
        return scores

    def _of_class(self, rows: Floats) -> Floats:
        known, rank = int(self.core * len(rows)), max(1, min(self.rank, rows.shape[1] // 2))
        about = rows - rows.mean(axis=0)
        near = np.argsort(np.einsum("nd,nd->n", about, about), kind="stable")
        core, rest, scores = near[:known], np.sort(near[known:]), np.zeros(len(rows))
        if known:
            scores[:] = _errors(Seen.of(rows[core]), rows, rank)
        if self.method != "static" or not known:
            scores[rest] = _novelty(Demud(method=self.method, rank=rank), rows[rest], rows[core])
        return scores


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The share of an image's k nearest ones that have another label; of equal shares, where those are nearer first.

    least: as in `WithinClass`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["neighbours"] = "neighbours"
    k: int = 10
    least: int = 5

    def __post_init__(self) -> None:
        if self.k < 1:
            raise PlanError(f"neighbours: k must be at least 1, not {self.k}.")
        _at_least_two(self.kind, self.least)

    def scores(self, values: Floats, classes: Index) -> Floats:
        """Suspicion (n,) of rows (n, d), 0 to 1, by their classes' numbers (n,)."""
        near, distance = _nearest(values, self.k)
        others = classes[near] != classes[:, None]
        count = others.sum(axis=1)
        far = (distance * others).sum(axis=1) / np.maximum(count, 1)
        usual = float(np.median(distance)) or 1.0
        # A part below 1 of what one more neighbour counts: it decides among equals only.
        scores: Floats = (count + (count > 0) * usual / (2 * usual + far)) / (near.shape[1] + 1)
        return scores


@dataclass(frozen=True, kw_only=True)
class Confident:
    """1 − the probability that a classifier which has not seen the image gives its label: confident learning.

    Northcutt, Jiang & Chuang 2021, "Confident learning: estimating uncertainty in dataset labels", with their
    self-confidence as the ranking. Logistic regression on principal components of standardised features, over `folds`
    parts that hold their share of each class. components: at most so many. strength: the inverse of its regularisation.
    least: as in `WithinClass`, and at least `folds`; smaller classes are not learned.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["confident"] = "confident"
    components: int = 64
    folds: int = 5
    strength: float = 0.1
    least: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.components < 1 or self.strength <= 0:
            raise PlanError(
                f"confident: components must be at least 1 and strength above 0, not {self.components} and {self.strength}."
            )
        if not 2 <= self.folds <= self.least:
            raise PlanError(f"confident: needs 2 folds or more, and at most `least` ({self.least}), not {self.folds}.")

    def scores(self, values: Floats, classes: Index) -> Floats:
        """Suspicion (n,) of rows (n, d), 0 to 1, by their classes' numbers (n,)."""
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
        from sklearn.preprocessing import StandardScaler

        scores, groups = np.zeros(len(values)), _rows_of(classes, self.least)
        if len(groups) < 2:  # nothing to confuse a label with
            return scores
        rows = np.concatenate(groups)
        rows = rows[ordered(values[rows])]  # the folds are by what rows are, not by where
        told = np.unique(classes[rows], return_inverse=True)[1]
        standard = StandardScaler().fit_transform(values[rows])
        kept = min(self.components, *standard.shape)
        few = PCA(kept, svd_solver="covariance_eigh" if len(standard) > standard.shape[1] else "full")
        probability = cross_val_predict(
            LogisticRegression(C=self.strength, max_iter=500), few.fit_transform(standard), told,
            cv=StratifiedKFold(self.folds, shuffle=True, random_state=self.seed), method="predict_proba",
        )  # fmt: skip
        scores[rows] = 1.0 - probability[np.arange(len(rows)), told]
        return scores


Method = Annotated[WithinClass | Neighbours | Confident, Field(discriminator="kind")]


@dataclass(frozen=True)
class Suspicion:
    """Images by falling suspicion. order (n,): rows of the collection, only of classes with enough images; equal ones by number.

    score (n,): of each, higher is more suspicious; comparable within one method only. suggested (n,): the label of most
    of its nearest labelled images, that of the nearest among labels that are as many; often its own. neighbours (n, k):
    their rows, nearest first.
    """

    order: Index
    score: Floats
    suggested: list[str]
    neighbours: Index


def suspects(values: npt.ArrayLike, labels: Labels, method: WithinClass | Neighbours | Confident) -> Suspicion:
    """Rank images by how little they seem to belong to their class. values (N, d); labels (N,), None where unknown.

    Rows without a label are no suspects and tell nothing. The order of the rows matters to ties alone.
    Raises PlanError where no row has a label, or no class has the images that the method needs (`least`).
    """
    there = np.array([row for row, label in enumerate(labels) if label], dtype=np.intp)
    if not len(there):
        raise PlanError("label errors: no image has a label; name a CSV with --labels, or `folder`.")
    rows = np.asarray(values, dtype=np.float64)[there]
    known = [str(labels[row]) for row in there]
    classes = np.unique(known, return_inverse=True)[1].astype(np.intp)
    enough = np.bincount(classes)[classes] >= method.least
    if not enough.any():
        raise PlanError(f"label errors: no class has {method.least} images; give more, or a smaller `least`.")
    scores = method.scores(rows, classes)
    order = np.argsort(-scores, kind="stable")
    order = order[enough[order]]
    near = _nearest(rows, SHOWN)[0]
    suggested = [_most([known[other] for other in near[row]], known[row]) for row in order]
    return Suspicion(there[order], scores[order], suggested, there[near[order]])


def planted(labels: Labels, rate: float, seed: int) -> tuple[list[str | None], Index]:
    """Labels of which a share is made wrong, and the rows (m,) of those, rising: m is rate · labelled, rounded, at least 1.

    Which rows is uniform among labelled ones; what each becomes is uniform among the other classes, however large.
    Raises PlanError for a rate that is not between 0 and 1, or fewer than two classes.
    """
    there, names = [row for row, label in enumerate(labels) if label], sorted({label for label in labels if label})
    if not 0 < rate < 1:
        raise PlanError(f"label errors: the rate of wrong labels must lie between 0 and 1, not {rate}.")
    if len(names) < 2:
        raise PlanError("label errors: labels can be made wrong only where there are two classes or more.")
    rng, wrong = np.random.default_rng(seed), list(labels)
    which = np.sort(rng.permutation(there)[: max(1, round(rate * len(there)))]).astype(np.intp)
    for row in which:
        others = [name for name in names if name != labels[row]]
        wrong[row] = others[int(rng.integers(len(others)))]
    return wrong, which


@dataclass(frozen=True, slots=True)
class Detection:
    """How well planted errors were found. precision: at as many suspects as were planted; 0 to 1, as all of these.

    Only planted ones count: an error that was there before counts against it. What was planted among images that are
    no suspects is not found. random: the expectation of `precision` in a random order of all labelled images, the
    rate; average_precision_random: that of the other.
    """

    planted: int
    precision: float
    random: float
    average_precision: float
    average_precision_random: float


def detection(suspicion: Suspicion, which: npt.ArrayLike, labelled: int) -> Detection:
    """Evaluate a ranking, made with planted labels. which (m,): the planted rows, m ≥ 1; labelled: images with a label."""
    count = len(np.asarray(which))
    found = np.isin(suspicion.order, which)
    novel = np.zeros(labelled, dtype=bool)
    novel[: len(found)] = found
    novel[len(found) : len(found) + count - int(found.sum())] = True  # ranked last, in no order
    average = ranking_scores(novel, range(len(found)))[1]
    assert average is not None
    return Detection(
        count, precision_at(found, count), count / labelled, average, expected_average_precision(count, labelled) or 0.0
    )  # fmt: skip


def _errors(known: Seen, rows: Floats, rank: int) -> Floats:
    """|x − x̂|² (n,) of rows (n, d) by one model of what is known: the scores of a static DEMUD, all at once; 0 for rounding."""
    model, about = Subspace(known.mean, known.axes[:rank]), rows - known.mean
    errors = PLAIN.of(np.array([model.residual(row) for row in rows]))
    return np.where(errors > NOTHING * PLAIN.of(about).max(), errors, 0.0)


def _novelty(settings: Demud, rows: Floats, known: Floats) -> Floats:
    """The score (n,) that each row (n, d) has when its turn comes, beside what is known (n0, d); 0 where nothing is new."""
    scores, selection = np.zeros(len(rows)), settings.open(rows, known)
    while (choice := selection.peek()) is not None:
        scores[choice.row] = choice.score
        selection.learn(choice.row)
    return scores


def _rows_of(classes: Index, least: int) -> list[Index]:
    """The rows of each class that has at least so many."""
    groups = [np.flatnonzero(classes == number) for number in range(int(classes.max(initial=-1)) + 1)]
    return [rows for rows in groups if len(rows) >= least]


def _nearest(values: Floats, count: int) -> tuple[Index, Floats]:
    """The nearest other rows (n, k) of each row, nearest first, equally near ones by number; and their distances (n, k)."""
    near = nearest(values, None, count)
    distance = np.sqrt(squared_to(values, values, near))
    sorting = np.lexsort((near, distance))
    return np.take_along_axis(near, sorting, axis=1), np.take_along_axis(distance, sorting, axis=1)


def _most(names: list[str], own: str) -> str:
    """The most frequent name, the earliest among those that are as frequent; its own where there is none."""
    return Counter(names).most_common(1)[0][0] if names else own


def _at_least_two(kind: str, least: int) -> None:
    if least < 2:
        raise PlanError(f"{kind}: a class needs at least 2 images to be compared with, not {least}.")
