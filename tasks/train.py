"""Tasks of training an inverter: assign images, prepare examples, train an epoch, score, export the checkpoint."""

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.progress import ProgressReporter
from interpdisc_core.training import assign_images as assignment
from interpdisc_core.training import dataset, epochs, export, finish
from interpdisc_core.training.recipe import Recipe


@task(name="assign images", cache_policy=NO_CACHE)
def assign_images(
    archive: str, listing: str, archives: tuple[str, ...], recipe: Recipe, held_out: Mapping[str, str], workers: int
) -> assignment.TrainingSplits:
    """See `interpdisc_core.training.assign_images.assign_images`."""
    return assignment.assign_images(archive, listing, archives, recipe, held_out, workers)


@task(name="prepare examples", task_run_name="prepare examples {part}", cache_policy=NO_CACHE)
def prepare_examples(archive: str, name: str, part: str, watch: ProgressReporter) -> dataset.PreparedPart:
    """See `interpdisc_core.training.dataset.prepare_examples`."""
    return dataset.prepare_examples(archive, name, part, watch)


@task(name="train epoch", task_run_name="train epoch {number}", cache_policy=NO_CACHE)
def train_epoch(archive: str, name: str, number: int, threads: int, watch: ProgressReporter) -> epochs.TrainingProgress:
    """See `interpdisc_core.training.epochs.train_epoch`."""
    return epochs.train_epoch(archive, name, number, threads, watch)


@task(name="score inverter", cache_policy=NO_CACHE)
def score_inverter(
    archive: str, name: str, description: finish.CheckpointDescription, threads: int
) -> finish.CheckpointSummary:
    """See `interpdisc_core.training.export.score_inverter`."""
    return export.score_inverter(archive, name, description, threads)


@task(name="export checkpoint", cache_policy=NO_CACHE)
def export_checkpoint(
    archive: str, name: str, score_result: finish.CheckpointSummary, out: str
) -> export.CheckpointExport:
    """See `interpdisc_core.training.export.export_checkpoint`."""
    return export.export_checkpoint(archive, name, score_result, out)
