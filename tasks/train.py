"""Train: draw the images, prepare examples, train epoch by epoch, score what came of it."""

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.progress import Watch
from interpdisc_core.training import delivering, enrolling, epochs, examples, finish
from interpdisc_core.training.recipe import Recipe


@task(name="enrol", cache_policy=NO_CACHE)
def enrol(
    archive: str, listing: str, archives: tuple[str, ...], recipe: Recipe, held_out: Mapping[str, str], workers: int
) -> examples.Enrolled:
    """See `interpdisc_core.training.enrolling.enrol`."""
    return enrolling.enrol(archive, listing, archives, recipe, held_out, workers)


@task(name="prepare", task_run_name="prepare {part}", cache_policy=NO_CACHE)
def prepare(archive: str, name: str, part: str, watch: Watch) -> examples.Prepared:
    """See `interpdisc_core.training.examples.prepare`."""
    return examples.prepare(archive, name, part, watch)


@task(name="train", task_run_name="train epoch {number}", cache_policy=NO_CACHE)
def train_epoch(archive: str, name: str, number: int, threads: int, watch: Watch) -> epochs.Trained:
    """See `interpdisc_core.training.epochs.train_epoch`."""
    return epochs.train_epoch(archive, name, number, threads, watch)


@task(name="score", cache_policy=NO_CACHE)
def score(archive: str, name: str, about: finish.About, threads: int) -> finish.Finished:
    """See `interpdisc_core.training.delivering.score`."""
    return delivering.score(archive, name, about, threads)


@task(name="deliver", cache_policy=NO_CACHE)
def deliver(archive: str, name: str, made: finish.Finished, out: str) -> delivering.Delivered:
    """See `interpdisc_core.training.delivering.deliver`."""
    return delivering.deliver(archive, name, made, out)
