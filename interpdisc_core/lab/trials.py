"""Trials: which images of a labelled collection an experiment looks at, as often as it is drawn.

To add one: write a frozen dataclass with a `kind` and `draw`, and name it in `Trials` below.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from interpdisc_core.errors import PlanError
from interpdisc_core.subset import Columns, matching

Index = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Trial:
    """One draw: rows (n,) of the collection, in the order in which a selector sees them."""

    number: int
    rows: Index


@dataclass(frozen=True, slots=True)
class Labelled:
    """What is known of a collection's images, a row each. columns: by name, also `id` and `label`; see `subset`."""

    ids: Sequence[str]
    labels: Sequence[str | None]
    columns: Columns

    def among(self, where: str) -> Index:
        """Rows of which `where` is true; all for an empty one. Raises PlanError where there are none."""
        found = np.flatnonzero(matching(where, self.columns)) if where else np.arange(len(self.ids))
        if not len(found):
            raise PlanError(f"trials: no image of the collection fits {where!r}.")
        return found


@dataclass(frozen=True, kw_only=True)
class Whole:
    """All images, or those of which the expression `where` is true (`split == 'train'`). One draw."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["whole"] = "whole"
    where: str = ""

    def draw(self, images: Labelled) -> list[Trial]:
        """The trials. Raises PlanError where no image fits."""
        return [Trial(0, images.among(self.where))]


@dataclass(frozen=True, kw_only=True)
class OneEach:
    """One image of each product: the first by id of those for which `key` finds the same text in the id.

    key: a regular expression; its first group counts, or all that it finds. An image in which it finds nothing is its own product.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["one-each"] = "one-each"
    key: str
    where: str = ""

    def __post_init__(self) -> None:
        compiled(self.key, "trials: key")

    def draw(self, images: Labelled) -> list[Trial]:
        """The trials. Raises PlanError where no image fits."""
        pattern = compiled(self.key, "trials: key")
        first: dict[str, int] = {}
        for row in sorted(images.among(self.where), key=lambda row: images.ids[row]):
            first.setdefault(found_by(pattern, images.ids[row]), row)
        return [Trial(0, np.array(sorted(first.values()), dtype=np.intp))]


@dataclass(frozen=True, kw_only=True)
class Group:
    """So many classes with so many images each."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    classes: int
    images: int

    def __post_init__(self) -> None:
        if self.classes < 1 or self.images < 1:
            raise PlanError(
                f"trials: a group has at least one class and one image, not {self.classes} and {self.images}."
            )


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Seeded draws of classes and of images of each: 20 classes x 50, or 10 x 50 and 10 x 1 (Wagstaff & Lee 2018, Table 1).

    groups: of classes, drawn without replacement among those with enough images for the largest group, so that which
    are rare says nothing of how many there are. draws: how many, each with its own classes.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["drawn"] = "drawn"
    groups: tuple[Group, ...] = (Group(classes=20, images=50),)
    draws: int = 10
    seed: int = 0
    where: str = ""

    def __post_init__(self) -> None:
        if not self.groups:
            raise PlanError("trials: draws need at least one group of classes.")
        _at_least_one(self.draws)

    def draw(self, images: Labelled) -> list[Trial]:
        """The trials. Raises PlanError where there are too few classes with enough images."""
        by_class: dict[str, list[int]] = {}
        for row in images.among(self.where):
            if label := images.labels[row]:
                by_class.setdefault(label, []).append(int(row))
        most, wanted = max(group.images for group in self.groups), sum(group.classes for group in self.groups)
        large = sorted(label for label, rows in by_class.items() if len(rows) >= most)
        if len(large) < wanted:
            raise PlanError(
                f"trials: {wanted} classes of {most} images are to be drawn, but only {len(large)} of the "
                f"{len(by_class)} classes have so many; ask for fewer classes, or fewer images of each."
            )
        trials = []
        for number in range(self.draws):
            rng = np.random.default_rng([self.seed, number])
            chosen, rows = list(rng.permutation(len(large))[:wanted]), []
            for group in self.groups:
                for place in chosen[: group.classes]:
                    rows += list(rng.choice(by_class[large[place]], group.images, replace=False))
                chosen = chosen[group.classes :]
            trials.append(Trial(number, np.array(sorted(rows), dtype=np.intp)))
        return trials


@dataclass(frozen=True, kw_only=True)
class _Redrawn(ABC):
    """The images that fit, drawn again each time by a generator of its own."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    draws: int = 10
    seed: int = 0
    where: str = ""

    def __post_init__(self) -> None:
        _at_least_one(self.draws)

    def draw(self, images: Labelled) -> list[Trial]:
        """The trials. Raises PlanError where no image fits."""
        among = images.among(self.where)
        return [
            Trial(number, among[self._places(np.random.default_rng([self.seed, number]), len(among))])
            for number in range(self.draws)
        ]

    @abstractmethod
    def _places(self, rng: np.random.Generator, count: int) -> Index:
        """Places (n,) among `count` images."""


@dataclass(frozen=True, kw_only=True)
class Resampled(_Redrawn):
    """Bootstrap over the collection: as many images drawn with replacement as there are; each counts once.

    A repeated image holds nothing new, so a resample is the 63 % of the images that it has.
    """

    kind: Literal["resampled"] = "resampled"

    def _places(self, rng: np.random.Generator, count: int) -> Index:
        return np.unique(rng.integers(0, count, count))


@dataclass(frozen=True, kw_only=True)
class Reordered(_Redrawn):
    """All images in seeded orders: what ties and the order of the rows do to a selection."""

    kind: Literal["reordered"] = "reordered"

    def _places(self, rng: np.random.Generator, count: int) -> Index:
        return rng.permutation(count)


Trials = Annotated[Whole | OneEach | Drawn | Resampled | Reordered, Field(discriminator="kind")]


def compiled(pattern: str, what: str) -> re.Pattern[str]:
    """A regular expression. Raises PlanError for one that is none, or has more than one group."""
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise PlanError(f"{what}: {pattern!r} is no regular expression ({error}).") from None
    if not pattern or found.groups > 1:
        raise PlanError(f"{what}: needs a regular expression with at most one group, not {pattern!r}.")
    return found


def found_by(pattern: re.Pattern[str], text: str) -> str:
    """What the pattern's group, or all of it, finds in `text`; the text itself where it finds nothing."""
    match = pattern.search(text)
    return text if match is None else match.group(pattern.groups) or text


def _at_least_one(draws: int) -> None:
    if draws < 1:
        raise PlanError(f"trials: draws must be at least 1, not {draws}.")
