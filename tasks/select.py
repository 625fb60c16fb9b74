"""Select: the sequential step, on one node."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core import selection
from interpdisc_core.progress import Watch


@task(name="select", cache_policy=NO_CACHE)
def select(archive: str, run: str, watch: Watch, threads: int) -> selection.Selected:
    """See `interpdisc_core.selection.select`."""
    return selection.select(archive, run, watch, threads)
