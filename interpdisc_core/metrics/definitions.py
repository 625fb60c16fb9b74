"""The numbers that go with an explanation: the name of each, and what it means in plain words."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """A number in a report.

    Attributes:
        title: Its name in a table.
        meaning: One sentence on it.
        better_direction: Whether high or low values are good; neither for a control.
    """

    title: str
    meaning: str
    better_direction: Literal["high", "low", "neither"]


METRIC_DEFINITIONS = {
    "image_error": MetricDefinition(
        "image error of the control",
        "Distance of pixels between the image and its own features decoded, over that of two images of this run: "
        "0 is perfect, 1 is no better than another image.",
        "low",
    ),
    "psnr": MetricDefinition("PSNR of the control", "The same distance in decibels.", "high"),
    "feature_error": MetricDefinition(
        "feature error of the control",
        "|φ(control) − x| over the mean distance of two images’ features: 0 is perfect.",
        "low",
    ),
    "second_error": MetricDefinition(
        "feature error, second encoder",
        "The same under a network that was not used to train the decoder, so the decoder cannot have adapted to it.",
        "low",
    ),
    "rank": MetricDefinition(
        "retrieval rank",
        "Place of the image itself when the control is encoded and searched among images of this run: 1 is first.",
        "low",
    ),
    "among": MetricDefinition("searched among", "How many images the retrieval rank is among.", "neither"),
    "cosine_difference": MetricDefinition(
        "cosine, difference",
        "Between x − x̂ and the difference of the features of the pictures of x and x̂, encoded again: 1 is perfect, 0 unrelated.",
        "high",
    ),
    "energy_difference": MetricDefinition(
        "energy, difference",
        "Share of |x − x̂|² that this difference has in the right direction; 1 is all of it.",
        "high",
    ),
    "cosine_new": MetricDefinition(
        "cosine, residual",
        "Between x − x̂ and the features that the panel “new”, encoded again, adds to those of the picture of its mean alone.",
        "high",
    ),
    "energy_new": MetricDefinition(
        "energy, residual", "Share of |x − x̂|² that the panel “new” has in the right direction.", "high"
    ),
    "cosine_second": MetricDefinition(
        "cosine, second encoder",
        "Between image minus expected picture and control minus expected picture, in features of a network that was not used in training.",
        "high",
    ),
    "cosine_random": MetricDefinition(
        "cosine of a random residual",
        "The same for a random direction of the same length in place of x − x̂: a control.",
        "neither",
    ),
    "cosine_shuffled": MetricDefinition(
        "cosine with others’ residuals",
        "The mean of |cosine| of the rendered difference with the residuals of other picks: a control.",
        "neither",
    ),
    "left_strongest": MetricDefinition(
        "novelty left, strongest cells out",
        "Share of this novelty that is left when the strongest fifth of the map’s cells is painted over: low means that the map is right.",
        "low",
    ),
    "left_random": MetricDefinition(
        "novelty left, random cells out", "The same with as many random cells: a control.", "neither"
    ),
}
"""By key, in the order in which they are shown."""

TRUST_METRIC = "cosine_difference"
"""The number that decides whether an explanation is trusted."""
