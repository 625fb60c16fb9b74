"""Trials: which images of a labeled collection an experiment uses, one or more draws.

To add a kind: write a class with `@settings`, a `kind` and `draw`, and add it to `Trials` below.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from interpdisc_core._types import IndexArray
from interpdisc_core.errors import PlanError
from interpdisc_core.metadata.expressions import Columns, check_expression, match_expression
from interpdisc_core.settings import settings

_Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class Trial:
    """One draw: its number from 0, and rows (n,) of the collection in the order in which a selector gets them."""

    number: int
    rows: IndexArray


@dataclass(frozen=True, slots=True)
class ImageTable:
    """What is known of a collection's images, one row each.

    Attributes:
        ids: Names.
        labels: Classes; None or empty if unknown.
        columns: Values by name for expressions, `id` and `label` among them; see `interpdisc_core.metadata.expressions`.
    """

    ids: Sequence[str]
    labels: Sequence[str | None]
    columns: Columns

    def rows_where(self, where: str) -> IndexArray:
        """Rows that the expression `where` matches; all rows if it is empty.

        Raises:
            PlanError: If it matches none.
        """
        rows = np.flatnonzero(match_expression(where, self.columns)) if where else np.arange(len(self.ids))
        if not len(rows):
            raise PlanError(f"trials: no image of the collection fits {where!r}.")
        return rows


@settings
class AllImages:
    """All images, or those that the expression `where` matches (`split == 'train'`). One draw."""

    kind: Literal["whole"] = "whole"
    where: str = ""

    def __post_init__(self) -> None:
        check_expression(self.where)

    def draw(self, table: ImageTable) -> list[Trial]:
        """The only trial.

        Raises:
            PlanError: If no image fits.
        """
        return [Trial(0, table.rows_where(self.where))]


@settings
class OnePerProduct:
    """One image of each product: the first by id of those in whose id `key` finds the same text. One draw.

    Attributes:
        key: A regular expression; its group counts, or all that it matches. An image whose id it does not match is a
            product of its own.
        where: An expression; only images that it matches; empty: all.

    Raises:
        PlanError: If `key` is no regular expression with at most one group.
    """

    kind: Literal["one-each"] = "one-each"
    key: str
    where: str = ""

    def __post_init__(self) -> None:
        compile_pattern(self.key, "one-each: key")
        check_expression(self.where)

    def draw(self, table: ImageTable) -> list[Trial]:
        """The only trial.

        Raises:
            PlanError: If no image fits.
        """
        pattern = compile_pattern(self.key, "one-each: key")
        first_rows: dict[str, int] = {}
        for row in sorted(table.rows_where(self.where), key=lambda row: table.ids[row]):
            first_rows.setdefault(extract_match(pattern, table.ids[row]), row)
        return [Trial(0, np.array(sorted(first_rows.values()), dtype=np.intp))]


@settings
class ClassGroup:
    """A number of classes, and how many images of each."""

    classes: _Count
    images: _Count


@settings
class ClassSample:
    """Seeded draws of classes and of images of each: 20 classes x 50, or 10 x 50 and 10 x 1 (Wagstaff & Lee 2018, Table 1).

    Attributes:
        groups: Drawn without replacement among the classes with enough images for the largest group, so that which
            classes are rare in a draw says nothing of their size.
        draws: How many, each with classes of its own.
        seed: Of the draws.
        where: An expression; only images that it matches; empty: all.

    Raises:
        PlanError: If there is no group, or `draws` is below 1.
    """

    kind: Literal["drawn"] = "drawn"
    groups: tuple[ClassGroup, ...] = (ClassGroup(classes=20, images=50),)
    draws: _Count = 10
    seed: int = 0
    where: str = ""

    def __post_init__(self) -> None:
        if not self.groups:
            raise PlanError("drawn: groups must not be empty.")
        check_expression(self.where)

    def draw(self, table: ImageTable) -> list[Trial]:
        """The trials.

        Raises:
            PlanError: If too few classes have enough images.
        """
        by_class: dict[str, list[int]] = {}
        for row in table.rows_where(self.where):
            if label := table.labels[row]:
                by_class.setdefault(label, []).append(int(row))
        largest_group = max(group.images for group in self.groups)
        class_count = sum(group.classes for group in self.groups)
        eligible_classes = sorted(label for label, rows in by_class.items() if len(rows) >= largest_group)
        if len(eligible_classes) < class_count:
            raise PlanError(
                f"drawn: {class_count} classes with {largest_group} images each are needed, but only "
                f"{len(eligible_classes)} of the {len(by_class)} classes have as many; draw fewer classes, or fewer images."
            )
        trials = []
        for number in range(self.draws):
            rng = np.random.default_rng([self.seed, number])
            class_indices, rows = list(rng.permutation(len(eligible_classes))[:class_count]), []
            for group in self.groups:
                for index in class_indices[: group.classes]:
                    rows += list(rng.choice(by_class[eligible_classes[index]], group.images, replace=False))
                class_indices = class_indices[group.classes :]
            trials.append(Trial(number, np.array(sorted(rows), dtype=np.intp)))
        return trials


@settings
class _RepeatedDraw(ABC):
    """The images that fit, drawn several times, each time with a random generator of its own."""

    draws: _Count = 10
    seed: int = 0
    where: str = ""

    def __post_init__(self) -> None:
        check_expression(self.where)

    def draw(self, table: ImageTable) -> list[Trial]:
        """The trials.

        Raises:
            PlanError: If no image fits.
        """
        rows = table.rows_where(self.where)
        return [
            Trial(number, rows[self._draw_positions(np.random.default_rng([self.seed, number]), len(rows))])
            for number in range(self.draws)
        ]

    @abstractmethod
    def _draw_positions(self, rng: np.random.Generator, count: int) -> IndexArray:
        """Positions (n,) among `count` images."""


@settings
class BootstrapSample(_RepeatedDraw):
    """Bootstrap over the collection: as many images as there are, drawn with replacement; each counts once.

    A repeated image has nothing new, so a resample is the 63 % of the images that are in it.
    """

    kind: Literal["resampled"] = "resampled"

    def _draw_positions(self, rng: np.random.Generator, count: int) -> IndexArray:
        return np.unique(rng.integers(0, count, count))


@settings
class ShuffledOrder(_RepeatedDraw):
    """All images in seeded orders: the effect of ties and of the order of rows on a selection."""

    kind: Literal["reordered"] = "reordered"

    def _draw_positions(self, rng: np.random.Generator, count: int) -> IndexArray:
        return rng.permutation(count)


Trials = Annotated[
    AllImages | OnePerProduct | ClassSample | BootstrapSample | ShuffledOrder, Field(discriminator="kind")
]


def compile_pattern(pattern: str, context: str) -> re.Pattern[str]:
    """A regular expression.

    Args:
        pattern: Its text.
        context: Where it comes from, for the error's sentence.

    Raises:
        PlanError: If it is none, is empty, or has more than one group.
    """
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise PlanError(f"{context}: {pattern!r} is no regular expression ({error}).") from None
    if not pattern or regex.groups > 1:
        raise PlanError(f"{context}: must be a regular expression with at most one group, not {pattern!r}.")
    return regex


def extract_match(pattern: re.Pattern[str], text: str) -> str:
    """What the pattern's group, or all of it, matches in `text`; the text itself if it does not match."""
    match = pattern.search(text)
    return text if match is None else match.group(pattern.groups) or text
