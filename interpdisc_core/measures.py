"""The numbers that go with an explanation: what each is called, and what it says in plain words."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Measure:
    """title: for a table. meaning: one sentence. better: which direction is good, or neither for a control."""

    title: str
    meaning: str
    better: Literal["high", "low", "neither"]


MEASURES = {
    "image_error": Measure(
        "image error of the control",
        "Distance of pixels between the image and its own features decoded, over that of two images of this run: "
        "0 is perfect, 1 is no better than another image.",
        "low",
    ),
    "psnr": Measure("PSNR of the control", "The same distance in decibels.", "high"),
    "feature_error": Measure(
        "feature error of the control",
        "|φ(control) − x| over the mean distance of two images’ features: 0 is perfect.",
        "low",
    ),
    "second_error": Measure(
        "feature error, second encoder",
        "The same under a network that had no part in training the decoder, against which it cannot have cheated.",
        "low",
    ),
    "rank": Measure(
        "retrieval rank", "Place of the image itself when the control is encoded and searched among images of this run: 1 is first.", "low"
    ),
    "among": Measure("searched among", "How many images the retrieval rank is among.", "neither"),
    "cosine_difference": Measure(
        "cosine, difference",
        "Between x − x̂ and what the pictures of x and x̂ differ in when they are encoded again: 1 is perfect, 0 unrelated.",
        "high",
    ),
    "energy_difference": Measure(
        "energy, difference", "Share of |x − x̂|² that this difference carries in the right direction; 1 is all of it.", "high"
    ),
    "cosine_new": Measure(
        "cosine, residual",
        "Between x − x̂ and what the panel “new” adds, encoded again, to the picture of its mean alone.",
        "high",
    ),
    "energy_new": Measure("energy, residual", "Share of |x − x̂|² that the panel “new” carries in the right direction.", "high"),
    "cosine_second": Measure(
        "cosine, second encoder",
        "Between what image and expected picture, and control and expected picture, differ in under a network that had no part in training.",
        "high",
    ),
    "cosine_random": Measure(
        "cosine of a random residual", "The same for a random direction of the same length in place of x − x̂: a control.", "neither"
    ),
    "cosine_shuffled": Measure(
        "cosine with others’ residuals", "The mean of |cosine| of the rendered difference with the residuals of other picks: a control.", "neither"
    ),
    "left_strongest": Measure(
        "novelty left, strongest cells out",
        "Share of this novelty that is left when the strongest fifth of the map’s cells is painted over: low means that the map is right.",
        "low",
    ),
    "left_random": Measure("novelty left, random cells out", "The same with as many random cells: a control.", "neither"),
}  # fmt: skip
"""By key, in the order in which they are shown."""

TRUST = "cosine_difference"
"""The measure by which the badge is given."""
