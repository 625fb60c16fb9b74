"""The history of a training, one record an epoch, and what follows from it: the rate, and whether to stop."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from interpdisc_core.storage.location import Location

_MAX_HALVINGS = 3
"""The rate is halved at most this often; then training stops."""
_MIN_IMPROVEMENT = 0.001
"""A score is better if it is lower than the best by this share."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """The outcome of an epoch, as `history.json` keeps it.

    Attributes:
        number: From 1.
        loss: Mean over the training batches.
        score: The loss on the validation images; lower is better.
        psnr: On the validation images, dB; higher is better.
        image_error: Squared; 0 is perfect, 1 that of the mean image.
        feature_error: Squared; 0 is perfect, 1 that of the mean features. The features of a blurred picture are worse.
        rate: Learning rate of the epoch.
        seconds: Wall time.
    """

    number: int
    loss: float
    score: float
    psnr: float
    image_error: float
    feature_error: float
    rate: float
    seconds: float


def count_halvings(epochs: Sequence[EpochRecord], patience: int) -> int:
    """How often the rate was halved: whenever `patience` epochs in a row were not better by a thousandth at least."""
    best, since, count = math.inf, 0, 0
    for epoch in epochs:
        best, since = (epoch.score, 0) if epoch.score < (1 - _MIN_IMPROVEMENT) * best else (best, since + 1)
        if since >= patience:
            since, count = 0, count + 1
    return count


def has_plateaued(epochs: Sequence[EpochRecord], patience: int) -> bool:
    """Whether more epochs would not help."""
    return count_halvings(epochs, patience) > _MAX_HALVINGS


def read_history(archive: Location, name: str) -> list[EpochRecord]:
    """The epochs of a training so far; none if it has not begun."""
    try:
        return [EpochRecord(**epoch) for epoch in (archive / f"training/{name}").read_checked_json("history.json")]
    except FileNotFoundError:
        return []
