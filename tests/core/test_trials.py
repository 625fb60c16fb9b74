"""Trials: which images an experiment looks at."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from interpdisc_core.errors import PlanError
from interpdisc_core.lab.trials import Drawn, Group, Labelled, OneEach, Reordered, Resampled, Whole

SIZES = {"a": 60, "b": 55, "c": 52, "d": 50, "e": 9, "f": 1}
LABELS: list[str | None] = [name for name, size in SIZES.items() for _ in range(size)] + [None] * 20
IDS = [f"{row // 2:04d}-{row % 2}.jpg" for row in range(len(LABELS))]
IMAGES = Labelled(IDS, LABELS, {"id": IDS, "label": LABELS, "sol": list(range(len(IDS)))})


@pytest.mark.parametrize(
    "trials", [Whole(), OneEach(key="^(....)"), Drawn(groups=(Group(classes=3, images=50),)), Resampled(), Reordered()],
    ids=lambda trials: trials.kind,
)  # fmt: skip
def test_draws_are_rows_and_repeat(trials: Any) -> None:
    """Every draw is of distinct rows that there are, numbered from 0, the same each time; `where` holds for all of them."""
    once, again = trials.draw(IMAGES), trials.draw(IMAGES)
    assert [trial.number for trial in once] == list(range(len(once)))
    for one, two in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.rows, two.rows)
        assert len(set(one.rows.tolist())) == len(one.rows)
        assert set(one.rows.tolist()) <= set(range(len(IDS)))
    from dataclasses import replace

    if not isinstance(trials, Drawn):
        assert all((t.rows >= 100).all() for t in replace(trials, where="sol >= 100").draw(IMAGES))
    with pytest.raises(PlanError, match="fits"):
        replace(trials, where="sol > 9999").draw(IMAGES)


def test_drawn_have_the_sizes_asked_for() -> None:
    """10 x 50 and 10 x 1 in small: two classes of 50 and two of 1, other ones in other draws and for other seeds."""
    trials = Drawn(groups=(Group(classes=2, images=50), Group(classes=2, images=1)), draws=20)
    seen = set()
    for trial in trials.draw(IMAGES):
        counts = Counter(LABELS[row] for row in trial.rows)
        assert sorted(counts.values()) == [1, 1, 50, 50]
        assert set(counts) <= {"a", "b", "c", "d"}  # what is rare could have been large
        seen.add(tuple(sorted(str(name) for name, count in counts.items() if count == 1)))
    assert len(seen) > 1
    other = Drawn(groups=trials.groups, draws=20, seed=1).draw(IMAGES)
    assert any((one.rows != two.rows).any() for one, two in zip(trials.draw(IMAGES), other, strict=True))


def test_more_draws_keep_the_first_ones() -> None:
    """Draw i is the same however many are made."""
    few, many = (Drawn(groups=(Group(classes=2, images=5),), draws=n).draw(IMAGES) for n in (2, 7))
    for one, two in zip(few, many, strict=False):
        np.testing.assert_array_equal(one.rows, two.rows)


def test_one_each_takes_the_first_by_name() -> None:
    """Of two files of a product the first by id; a file in which the key finds nothing stands for itself."""
    assert OneEach(key=r"^(\d{4})-").draw(IMAGES)[0].rows.tolist() == list(range(0, len(IDS), 2))
    odd = Labelled(["b-2", "b-1", "x", "y"], ["k"] * 4, {"id": ["b-2", "b-1", "x", "y"]})
    assert OneEach(key="^(.)-").draw(odd)[0].rows.tolist() == [1, 2, 3]


def test_resamples_are_about_two_thirds_and_orders_are_all() -> None:
    """A resample has 63 % of the images on average; a reordering has all."""
    shares = [len(trial.rows) / len(IDS) for trial in Resampled(draws=40).draw(IMAGES)]
    assert np.mean(shares) == pytest.approx(1 - np.exp(-1), abs=0.02)
    for trial in Reordered(draws=3).draw(IMAGES):
        assert sorted(trial.rows.tolist()) == list(range(len(IDS)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Drawn(groups=(Group(classes=5, images=50),)).draw(IMAGES), "only 4 of the 6"),
        (lambda: Drawn(groups=()), "at least one group"),
        (lambda: Drawn(draws=0), "at least 1"),
        (lambda: Group(classes=0, images=1), "at least one class"),
        (lambda: OneEach(key="("), "no regular expression"),
        (lambda: OneEach(key="(a)(b)"), "at most one group"),
        (lambda: OneEach(key=""), "regular expression"),
        (lambda: Whole(where="no_such > 1").draw(IMAGES), "no field"),
    ],
)
def test_what_cannot_be_is_said(make: Any, said: str) -> None:
    """A sentence each."""
    with pytest.raises(PlanError, match=said):
        make()
