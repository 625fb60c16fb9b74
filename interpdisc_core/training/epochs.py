"""The epochs of a training: what came of each, and one more."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from interpdisc_core.progress import Watch
from interpdisc_core.storage import Place
from interpdisc_core.training.examples import Training
from interpdisc_core.training.samples import file_of, sample

_LATE = 3
"""Times that the rate is halved before training stops."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's outcome. loss: of the training batches. score: of the validation images, lower is better.

    psnr in dB. image_error: squared, 1 for the mean image. feature_error: squared, 1 for features that are always the
    mean ones (those of a blurred picture are farther).
    """

    number: int
    loss: float
    score: float
    psnr: float
    image_error: float
    feature_error: float
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Trained:
    """How far a training is. finished: more epochs would not help. sheet: the last epoch's samples, in the archive."""

    history: tuple[Epoch, ...]
    finished: bool
    sheet: str

    @property
    def hours(self) -> float:
        """Spent on its epochs so far, by all who trained it."""
        return sum(epoch.seconds for epoch in self.history) / 3600

    @property
    def told(self) -> str:
        """One line about the last epoch."""
        last, best = self.history[-1], min(epoch.score for epoch in self.history)
        return (
            f"epoch {last.number:>3}: loss {last.loss:.3f}, validation {last.score:.4f}{' (best)' if last.score == best else ''}, "
            f"PSNR {last.psnr:.2f} dB, feature error {last.feature_error:.3f}, {last.seconds:.0f} s"
        )

    def over(self, epochs: int, hours: float | None) -> bool:
        """Whether training ends here: at the last epoch, after so many hours, or where more would not help."""
        return self.finished or len(self.history) >= epochs or (hours is not None and self.hours >= hours)


def train_epoch(url: str, name: str, number: int, threads: int, watch: Watch) -> Trained:
    """Train epoch `number`, unless it is done, and keep what the network can paint by then.

    Epochs before it that are not done come first, one a call: see `Trained.history`. threads: on a CPU, at most.
    Raises StoreError where the state is damaged, or where the loss is no number any more.
    """
    from interpdisc_core.training._fit import Fit

    with using_threads(threads):
        fit = Fit(Training(Place.of(url), name))
        if len(fit.history) < number:
            fit.epoch(watch)
        last = len(fit.history)
        if last and not fit.training.place.exists(file_of(last)):
            sample(fit.training, last, fit.pictures)
    return Trained(tuple(fit.history), fit.finished, f"training/{name}/{file_of(last)}")


@contextmanager
def using_threads(most: int) -> Iterator[None]:
    """PyTorch's threads for a while: a worker of one thread has one, but the others rest while one trains."""
    import torch

    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(most, cores)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def halvings(epochs: Sequence[Epoch], patience: int) -> int:
    """How often the rate was halved: each time that `patience` epochs brought nothing better, by a thousandth at least."""
    best, since, count = math.inf, 0, 0
    for epoch in epochs:
        best, since = (epoch.score, 0) if epoch.score < 0.999 * best else (best, since + 1)
        if since >= patience:
            since, count = 0, count + 1
    return count


def given_up(epochs: Sequence[Epoch], patience: int) -> bool:
    """Whether more epochs would not help."""
    return halvings(epochs, patience) > _LATE


def history(archive: Place, name: str) -> list[Epoch]:
    """The epochs of a training so far."""
    try:
        return [Epoch(**epoch) for epoch in json.loads((archive / f"training/{name}").read("history.json"))]
    except FileNotFoundError:
        return []
