"""Tasks of an evaluation: collect labeled images, learn representations, run the cells of a study, publish it."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.archive.run import RunInputs
from interpdisc_core.evaluation import dataset as labeled_dataset
from interpdisc_core.evaluation import learn_representation as learning
from interpdisc_core.evaluation import publish, schedule
from interpdisc_core.evaluation import run_cells as cells
from interpdisc_core.evaluation.study import Study
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter


@task(name="collect dataset", cache_policy=NO_CACHE)
def collect_dataset(
    archive: str, listing: str, inputs: RunInputs, study: Study, block: int, workers: int
) -> labeled_dataset.DatasetSummary:
    """See `interpdisc_core.evaluation.schedule.collect_dataset`."""
    return schedule.collect_dataset(archive, listing, inputs, study, block, workers)


@task(name="learn representation", task_run_name="learn {name}", cache_policy=NO_CACHE)
def learn_representation(archive: str, dataset: str, name: str, representation: Any, watch: ProgressReporter) -> str:
    """See `interpdisc_core.evaluation.learn_representation.learn_representation`."""
    return learning.learn_representation(archive, dataset, representation, watch)


@task(name="schedule cells", cache_policy=NO_CACHE)
def schedule_cells(archive: str, dataset: str, study: Study, workers: int) -> schedule.Schedule:
    """See `interpdisc_core.evaluation.schedule.schedule_cells`."""
    return schedule.schedule_cells(archive, dataset, study, workers)


@task(name="run cells", task_run_name="run cells {part}", cache_policy=NO_CACHE)
def run_cells(archive: str, study: str, part: int, watch: ProgressReporter) -> cells.PartResult:
    """See `interpdisc_core.evaluation.run_cells.run_cells`."""
    return cells.run_cells(archive, study, part, watch)


@task(name="publish study", cache_policy=NO_CACHE)
def publish_study(
    archive: str, study: str, out: str, command: str, timings: dict[str, float]
) -> publish.PublishedStudy:
    """See `interpdisc_core.evaluation.publish.publish_study`."""
    return publish.publish_study(archive, study, out, command, timings)


@task(name="collect images", cache_policy=NO_CACHE)
def collect_images(
    archive: str, listing: str, inputs: RunInputs, block: int, workers: int
) -> labeled_dataset.DatasetSummary:
    """See `interpdisc_core.evaluation.dataset.collect_images`."""
    return labeled_dataset.collect_images(archive, listing, inputs, block, workers)


@task(name="export plan", cache_policy=NO_CACHE)
def export_plan(archive: str, dataset: str, plan: Plan, weights_address: str, out: str) -> learning.PlanExport:
    """See `interpdisc_core.evaluation.learn_representation.export_plan`."""
    return learning.export_plan(archive, dataset, plan, weights_address, out)
