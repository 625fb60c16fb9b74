"""Publish: the report and the tables of a run."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.pipeline import publish


@task(name="publish run", task_run_name="publish run", cache_policy=NO_CACHE)
def publish_run(archive: str, run: str, out: str, timings: dict[str, float]) -> publish.PublishResult:
    """See `interpdisc_core.pipeline.publish.publish_run`."""
    return publish.publish_run(archive, run, out, timings)
