"""Ingest: list the inputs, check the new ones, resolve duplicates and rows."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.archive.run import RunInputs
from interpdisc_core.pipeline import ingest
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter


@task(name="list inputs", task_run_name="list inputs", cache_policy=NO_CACHE)
def list_inputs(archive: str, inputs: RunInputs) -> ingest.ListingResult:
    """See `interpdisc_core.pipeline.ingest.list_inputs`."""
    return ingest.list_inputs(archive, inputs)


@task(name="check inputs", task_run_name="check inputs {rows[0]}–{rows[1]}", cache_policy=NO_CACHE)
def check_inputs(
    archive: str,
    listing: str,
    rows: tuple[int, int],
    sequence: int,
    reporter: ProgressReporter,
    max_outstanding: float,
    is_isolated: bool = False,
) -> ingest.CheckResult:
    """See `interpdisc_core.pipeline.ingest.check_inputs`."""
    return ingest.check_inputs(archive, listing, rows, sequence, reporter, max_outstanding, is_isolated=is_isolated)


@task(name="resolve inputs", task_run_name="resolve inputs", cache_policy=NO_CACHE)
def resolve_inputs(
    archive: str, listing: str, plan: Plan, inputs: RunInputs, block: int, workers: int
) -> ingest.IngestResult:
    """See `interpdisc_core.pipeline.ingest.resolve_inputs`."""
    return ingest.resolve_inputs(archive, listing, plan, inputs, block, workers)
