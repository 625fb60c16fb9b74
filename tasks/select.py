"""Select: the sequential step, on one machine."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.pipeline import select
from interpdisc_core.progress import ProgressReporter


@task(name="select picks", task_run_name="select picks of {run}", cache_policy=NO_CACHE)
def select_picks(archive: str, run: str, reporter: ProgressReporter, threads: int) -> select.SelectionResult:
    """See `interpdisc_core.pipeline.select.select_picks`."""
    return select.select_picks(archive, run, reporter, threads)
