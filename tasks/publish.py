"""Publish: the report and the tables."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core import publication


@task(name="publish", cache_policy=NO_CACHE)
def publish(archive: str, run: str, out: str, timings: dict[str, float]) -> publication.Published:
    """See `interpdisc_core.publication.publish`."""
    return publication.publish(archive, run, out, timings)
