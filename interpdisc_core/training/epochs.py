"""Train one epoch at a time, and say how far a training is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from interpdisc_core.progress import ProgressReporter
from interpdisc_core.storage.location import Location
from interpdisc_core.training.dataset import TrainingRun
from interpdisc_core.training.history import EpochRecord
from interpdisc_core.training.sample_sheet import sheet_path, write_sample_sheet


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a training is.

    Attributes:
        history: Its epochs so far.
        is_finished: More epochs would not help.
        sample_sheet: Name of the last epoch's sheet of pictures in the archive.
    """

    history: tuple[EpochRecord, ...]
    is_finished: bool
    sample_sheet: str

    @property
    def elapsed_hours(self) -> float:
        """Hours spent on its epochs so far, earlier calls included."""
        return sum(epoch.seconds for epoch in self.history) / 3600

    @property
    def status_line(self) -> str:
        """One line about the last epoch."""
        last, best = self.history[-1], min(epoch.score for epoch in self.history)
        return (
            f"epoch {last.number:>3}: loss {last.loss:.3f}, validation {last.score:.4f}{' (best)' if last.score == best else ''}, "
            f"PSNR {last.psnr:.2f} dB, feature error {last.feature_error:.3f}, {last.seconds:.0f} s"
        )

    def should_stop(self, epochs: int, hours: float | None) -> bool:
        """Whether training ends here: after `epochs` epochs, after `hours` hours, or if more would not help."""
        return self.is_finished or len(self.history) >= epochs or (hours is not None and self.elapsed_hours >= hours)


def train_epoch(url: str, name: str, number: int, threads: int, watch: ProgressReporter) -> TrainingProgress:
    """Train the next epoch, unless `number` epochs are done, and write a sheet of sample pictures.

    If earlier epochs are missing, one call trains one of them: see `TrainingProgress.history`.

    Args:
        url: The archive.
        name: The training's name in it.
        number: The epoch that is wanted, from 1.
        threads: Threads on a CPU, at most.
        watch: Where progress is reported.

    Raises:
        StoreError: If the saved state is damaged, or the loss is not finite.
    """
    from interpdisc_core.training._trainer import InverterTrainer

    with limit_threads(threads):
        trainer = InverterTrainer(TrainingRun(Location.parse(url), name))
        if len(trainer.history) < number:
            trainer.run_epoch(watch)
        last = len(trainer.history)
        if last and not trainer.training.location.exists(sheet_path(last)):
            write_sample_sheet(trainer.training, last, trainer.render_codes)
    return TrainingProgress(tuple(trainer.history), trainer.is_finished, f"training/{name}/{sheet_path(last)}")


@contextmanager
def limit_threads(max_threads: int) -> Iterator[None]:
    """Give PyTorch up to `max_threads` threads for a while: other workers are idle while one trains."""
    import torch

    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(max_threads, cores)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
