"""Daily: poll, log, settle; open a day, remember one without a list, close it; take people's word into account."""

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.daily import arrivals, closing, commit, opening, rebuilding
from interpdisc_core.daily.settings import Daily
from interpdisc_core.ingest import Listing


@task(name="poll", cache_policy=NO_CACHE)
def poll(archive: str, settings: Daily) -> arrivals.Polled:
    """See `interpdisc_core.daily.arrivals.poll`."""
    return arrivals.poll(archive, settings)


@task(name="enlist", cache_policy=NO_CACHE)
def enlist(archive: str, settings: Daily) -> Listing:
    """See `interpdisc_core.daily.arrivals.enlist`."""
    return arrivals.enlist(archive, settings)


@task(name="arrive", cache_policy=NO_CACHE)
def arrive(archive: str, listing: str, settings: Daily, block: int, workers: int) -> arrivals.Arrived:
    """See `interpdisc_core.daily.arrivals.arrive`."""
    return arrivals.arrive(archive, listing, settings, block, workers)


@task(name="settle verdicts", cache_policy=NO_CACHE)
def settle(archive: str, settings: Daily) -> tuple[str, ...]:
    """See `interpdisc_core.daily.commit.settled`."""
    return commit.settled(archive, settings)


@task(name="open", task_run_name="open {day}", cache_policy=NO_CACHE)
def open_day(archive: str, settings: Daily, day: str) -> opening.Opened:
    """See `interpdisc_core.daily.opening.open_day`."""
    return opening.open_day(archive, settings, day)


@task(name="remember", task_run_name="remember {day}", cache_policy=NO_CACHE)
def remember_day(archive: str, settings: Daily, day: str) -> str:
    """See `interpdisc_core.daily.closing.remember_day`."""
    return closing.remember_day(archive, settings, day)


@task(name="close", task_run_name="close {day}", cache_policy=NO_CACHE)
def close_day(archive: str, settings: Daily, day: str, timings: Mapping[str, float], pages: str) -> closing.Closed:
    """See `interpdisc_core.daily.closing.close_day`."""
    return closing.close_day(archive, settings, day, timings, pages)


@task(name="begin rebuild", cache_policy=NO_CACHE)
def begin_rebuild(archive: str, settings: Daily) -> rebuilding.Begun:
    """See `interpdisc_core.daily.rebuilding.begin`."""
    return rebuilding.begin(archive, settings)


@task(name="rebuild", task_run_name="rebuild {day}", cache_policy=NO_CACHE)
def rebuild_day(archive: str, settings: Daily, day: str) -> int:
    """See `interpdisc_core.daily.rebuilding.rebuild_day`."""
    return rebuilding.rebuild_day(archive, settings, day)


@task(name="end rebuild", cache_policy=NO_CACHE)
def end_rebuild(archive: str, settings: Daily) -> str:
    """See `interpdisc_core.daily.rebuilding.end`."""
    return rebuilding.end(archive, settings)
