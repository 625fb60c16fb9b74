"""Tasks of the flows `daily` and `rebuild`: each calls the function of the same name in `operations.daily`."""

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.operations.daily import commit, finish, ingest, prepare, rebuild
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.pipeline.ingest import ListingResult


@task(name="poll source", task_run_name="poll source", cache_policy=NO_CACHE)
def poll_source(archive: str, settings: Daily) -> ingest.PollSummary:
    """See `interpdisc_core.operations.daily.ingest.poll_source`."""
    return ingest.poll_source(archive, settings)


@task(name="list inputs", task_run_name="list inputs", cache_policy=NO_CACHE)
def list_daily_inputs(archive: str, settings: Daily) -> ListingResult:
    """See `interpdisc_core.operations.daily.ingest.list_daily_inputs`."""
    return ingest.list_daily_inputs(archive, settings)


@task(name="resolve inputs and find days", task_run_name="resolve inputs and find days", cache_policy=NO_CACHE)
def ingest_days(archive: str, listing: str, settings: Daily, block: int, workers: int) -> ingest.IngestSummary:
    """See `interpdisc_core.operations.daily.ingest.ingest_days`."""
    return ingest.ingest_days(archive, listing, settings, block, workers)


@task(name="apply verdicts", task_run_name="apply verdicts", cache_policy=NO_CACHE)
def apply_verdicts(archive: str, settings: Daily) -> tuple[str, ...]:
    """See `interpdisc_core.operations.daily.commit.apply_verdicts`."""
    return commit.apply_verdicts(archive, settings)


@task(name="prepare day", task_run_name="prepare day {day}", cache_policy=NO_CACHE)
def prepare_day(archive: str, settings: Daily, day: str) -> prepare.PreparedDay:
    """See `interpdisc_core.operations.daily.prepare.prepare_day`."""
    return prepare.prepare_day(archive, settings, day)


@task(name="remember day", task_run_name="remember day {day}", cache_policy=NO_CACHE)
def remember_day(archive: str, settings: Daily, day: str) -> str:
    """See `interpdisc_core.operations.daily.finish.remember_day`."""
    return finish.remember_day(archive, settings, day)


@task(name="publish and commit day", task_run_name="publish and commit day {day}", cache_policy=NO_CACHE)
def finish_day(archive: str, settings: Daily, day: str, timings: Mapping[str, float], pages: str) -> finish.FinishedDay:
    """See `interpdisc_core.operations.daily.finish.finish_day`."""
    return finish.finish_day(archive, settings, day, timings, pages)


@task(name="plan rebuild", task_run_name="plan rebuild", cache_policy=NO_CACHE)
def plan_rebuild(archive: str, settings: Daily) -> rebuild.RebuildPlan:
    """See `interpdisc_core.operations.daily.rebuild.plan_rebuild`."""
    return rebuild.plan_rebuild(archive, settings)


@task(name="rebuild day", task_run_name="rebuild day {day}", cache_policy=NO_CACHE)
def rebuild_day(archive: str, settings: Daily, day: str) -> int:
    """See `interpdisc_core.operations.daily.rebuild.rebuild_day`."""
    return rebuild.rebuild_day(archive, settings, day)


@task(name="remove unused records", task_run_name="remove unused records", cache_policy=NO_CACHE)
def finish_rebuild(archive: str, settings: Daily) -> str:
    """See `interpdisc_core.operations.daily.rebuild.finish_rebuild`."""
    return rebuild.finish_rebuild(archive, settings)
