"""Trials: which images an experiment uses."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation.sampling import (
    AllImages,
    BootstrapSample,
    ClassGroup,
    ClassSample,
    ImageTable,
    OnePerProduct,
    ShuffledOrder,
)

SIZES = {"a": 60, "b": 55, "c": 52, "d": 50, "e": 9, "f": 1}
LABELS: list[str | None] = [name for name, size in SIZES.items() for _ in range(size)] + [None] * 20
IDS = [f"{row // 2:04d}-{row % 2}.jpg" for row in range(len(LABELS))]
IMAGES = ImageTable(IDS, LABELS, {"id": IDS, "label": LABELS, "sol": list(range(len(IDS)))})


@pytest.mark.parametrize(
    "trials",
    [
        AllImages(),
        OnePerProduct(key="^(....)"),
        ClassSample(groups=(ClassGroup(classes=3, images=50),)),
        BootstrapSample(),
        ShuffledOrder(),
    ],
    ids=lambda trials: trials.kind,
)
def test_draws_are_distinct_rows_numbered_from_0_and_repeatable(trials: Any) -> None:
    """And `where` is true of all of them."""
    first, second = trials.draw(IMAGES), trials.draw(IMAGES)
    assert [trial.number for trial in first] == list(range(len(first)))
    for trial, repeated in zip(first, second, strict=True):
        np.testing.assert_array_equal(trial.rows, repeated.rows)
        assert len(set(trial.rows.tolist())) == len(trial.rows)
        assert set(trial.rows.tolist()) <= set(range(len(IDS)))
    if not isinstance(trials, ClassSample):
        assert all((t.rows >= 100).all() for t in replace(trials, where="sol >= 100").draw(IMAGES))
    with pytest.raises(PlanError, match="fits"):
        replace(trials, where="sol > 9999").draw(IMAGES)


def test_a_class_sample_has_the_sizes_of_its_groups() -> None:
    """10 x 50 and 10 x 1 in small: two classes of 50 and two of 1, other ones in other draws and for other seeds."""
    trials = ClassSample(groups=(ClassGroup(classes=2, images=50), ClassGroup(classes=2, images=1)), draws=20)
    rare_classes = set()
    for trial in trials.draw(IMAGES):
        counts = Counter(LABELS[row] for row in trial.rows)
        assert sorted(counts.values()) == [1, 1, 50, 50]
        assert set(counts) <= {"a", "b", "c", "d"}  # a rare class is one that could have been large
        rare_classes.add(tuple(sorted(str(name) for name, count in counts.items() if count == 1)))
    assert len(rare_classes) > 1
    other = ClassSample(groups=trials.groups, draws=20, seed=1).draw(IMAGES)
    assert any((trial.rows != reseeded.rows).any() for trial, reseeded in zip(trials.draw(IMAGES), other, strict=True))


def test_a_draw_does_not_depend_on_the_number_of_draws() -> None:
    few, many = (ClassSample(groups=(ClassGroup(classes=2, images=5),), draws=n).draw(IMAGES) for n in (2, 7))
    for trial, same in zip(few, many, strict=False):
        np.testing.assert_array_equal(trial.rows, same.rows)


def test_one_per_product_takes_the_first_by_id() -> None:
    """An image whose id the key does not match is a product of its own."""
    assert OnePerProduct(key=r"^(\d{4})-").draw(IMAGES)[0].rows.tolist() == list(range(0, len(IDS), 2))
    odd = ImageTable(["b-2", "b-1", "x", "y"], ["k"] * 4, {"id": ["b-2", "b-1", "x", "y"]})
    assert OnePerProduct(key="^(.)-").draw(odd)[0].rows.tolist() == [1, 2, 3]


def test_a_resample_has_63_percent_of_the_images_and_a_reordering_all() -> None:
    shares = [len(trial.rows) / len(IDS) for trial in BootstrapSample(draws=40).draw(IMAGES)]
    assert np.mean(shares) == pytest.approx(1 - np.exp(-1), abs=0.02)
    for trial in ShuffledOrder(draws=3).draw(IMAGES):
        assert sorted(trial.rows.tolist()) == list(range(len(IDS)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassSample(groups=(ClassGroup(classes=5, images=50),)).draw(IMAGES), "only 4 of the 6"),
        (lambda: ClassSample(groups=()), "drawn: groups must not be empty"),
        (lambda: ClassSample(draws=0), "draws must be at least 1"),
        (lambda: ClassGroup(classes=0, images=1), "classes must be at least 1"),
        (lambda: OnePerProduct(key="("), "no regular expression"),
        (lambda: OnePerProduct(key="(a)(b)"), "at most one group"),
        (lambda: OnePerProduct(key=""), "regular expression"),
        (lambda: AllImages(where="no_such > 1").draw(IMAGES), "no field"),
    ],
)
def test_trials_that_cannot_be_drawn_are_refused(make: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make()
