"""Explain: how, and then a few picks at a time."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core import explanation
from interpdisc_core.plan import Rendering
from interpdisc_core.progress import Watch


@task(name="begin", cache_policy=NO_CACHE)
def begin(archive: str, run: str, rendering: Rendering) -> int:
    """See `interpdisc_core.explanation.begin`."""
    return explanation.begin(archive, run, rendering)


@task(name="explain", task_run_name="explain picks {ranks[0]} to {ranks[1]}", cache_policy=NO_CACHE)
def explain(archive: str, run: str, ranks: tuple[int, int], watch: Watch) -> explanation.Explained:
    """See `interpdisc_core.explanation.explain`."""
    return explanation.explain(archive, run, ranks, watch)
