"""The sentence on a card says what the numbers say, and no more."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from interpdisc_core.reporting.pick_sentence import compute_band_shares, describe_pick
from interpdisc_core.reporting.pick_view import ExpectedImage, ExpectedView, NearView
from tests.reporting.test_run_report import make_pick

NEAR = NearView(id="a.jpg", distance=1.5, role="pick 8", picture=None, label="drill hole")


def image(name: str, weight: float | None, role: str = "background", **changes: Any) -> ExpectedImage:
    return ExpectedImage(id=name, role=role, picture=None, weight=weight, is_nearest=False, **changes)


def expected(*images: ExpectedImage, total: float = 1.0, is_of_all: bool = False, count: int = 40) -> ExpectedView:
    return ExpectedView(count=count, total=total, images=images, is_of_all=is_of_all)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"nearest": (NEAR,), "expected": expected(image("a.jpg", 0.47, "pick 8"))},
            "Of what was seen before, it is most like pick 8 (drill hole), which makes up 47\u00a0% of what was expected.",
        ),
        (  # Of weights that add up to 4 in size, 0.8 is a fifth.
            {"nearest": (NEAR,), "expected": expected(image("a.jpg", 0.8, "pick 8"), total=4.0)},
            "Of what was seen before, it is most like pick 8 (drill hole), which makes up 20\u00a0% of what was expected.",
        ),
        (
            {
                "nearest": (NEAR,),
                "expected": expected(image("a.jpg", 0.05, "pick 8"), image("b.jpg", 0.3, label="sky")),
            },
            "Of what was seen before, it is most like pick 8 (drill hole); 30\u00a0% of what was expected is b.jpg (sky).",
        ),
        (
            {"nearest": (NEAR,), "expected": expected(image("b.jpg", 0.004), count=1500)},
            (
                "Of what was seen before, it is most like pick 8 (drill hole); what was expected is a blend of 1,500 images, "
                "each with less than 1\u00a0% of it."
            ),
        ),
        (
            {"nearest": (NEAR,), "expected": expected(image("a.jpg", -0.9, "pick 8"), total=3.0)},
            (
                "Of what was seen before, it is most like pick 8 (drill hole); what was expected is a blend of 40 images, "
                "none with more than 30\u00a0% of it."
            ),
        ),
        ({"nearest": (NEAR,)}, "Of what was seen before, it is most like pick 8 (drill hole)."),
        ({"rank": 1, "nearest": ()}, "Nothing was seen before this pick, so nothing was expected."),
        ({"rank": 2, "nearest": ()}, ""),
        (
            {"rank": 1, "nearest": (), "expected": expected(image("b.jpg", 0.03, "candidate"), is_of_all=True)},
            (
                "Nothing was seen before this pick: it is compared with a model of all 40 images; what was expected is a blend "
                "of 40 images, none with more than 3\u00a0% of it."
            ),
        ),
    ],
)
def test_what_a_pick_is_like(changes: dict[str, Any], text: str) -> None:
    assert describe_pick(replace(make_pick(3), attribution_map=None, **changes)) == text


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ([[1, 0, 0], [1, 0, 0], [1, 0, 0]], "100\u00a0% of what is new lies in its left third."),
        ([[0, 0, 0], [0, 0, 0], [2, 2, 2]], "100\u00a0% of what is new lies in its lower third."),
        ([[0, 5, 0], [0, 5, 0], [1, 4, 5]], "70\u00a0% of what is new lies in its middle third from left to right."),
        ([[1, 1, 1], [1, 1, 1], [1, 1, 1]], "What is new is spread over the image."),
        ([[-9, -9, 1]], "100\u00a0% of what is new lies in its right third."),
        ([[-1, -1], [-1, 0]], ""),
        ([[1, np.nan]], ""),
    ],
)
def test_where_a_pick_is_new(cells: list[list[float]], text: str) -> None:
    pick = replace(make_pick(2), nearest=(), attribution_map=np.array(cells, dtype=np.float64))
    assert describe_pick(pick) == text


def test_a_cell_in_two_thirds_counts_in_both_by_its_area() -> None:
    shares = compute_band_shares(np.array([[1.0, 1.0, 1.0, 1.0]]))
    assert shares is not None
    np.testing.assert_allclose(shares[0], [1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(compute_band_shares(np.array([[3.0, 1.0]]))[0], [0.5, 0.25 + 1 / 12, 1 / 6])  # type: ignore[index]
