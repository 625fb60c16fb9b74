"""Explain: how picks are rendered, and then a few picks at a time."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.pipeline import explain
from interpdisc_core.plan import RenderingOptions
from interpdisc_core.progress import ProgressReporter


@task(name="begin explaining", task_run_name="begin explaining", cache_policy=NO_CACHE)
def begin_explaining(archive: str, run: str, rendering: RenderingOptions) -> int:
    """See `interpdisc_core.pipeline.explain.begin_explaining`."""
    return explain.begin_explaining(archive, run, rendering)


@task(name="explain picks", task_run_name="explain picks {ranks[0]}–{ranks[1]}", cache_policy=NO_CACHE)
def explain_picks(archive: str, run: str, ranks: tuple[int, int], reporter: ProgressReporter) -> explain.ExplainResult:
    """See `interpdisc_core.pipeline.explain.explain_picks`."""
    return explain.explain_picks(archive, run, ranks, reporter)
