"""Daily: poll → ingest → extract → for each day: select → explain → publish → commit."""

from prefect import flow

from flows import daily_artifacts
from flows.artifacts import gather
from flows.ingesting import check_all
from interpdisc_core.daily import log
from interpdisc_core.daily.arrivals import Arrived, Polled
from interpdisc_core.daily.closing import Closed
from interpdisc_core.daily.settings import Daily
from interpdisc_core.explanation import spread
from interpdisc_core.lease import Lease, held
from interpdisc_core.progress import Stopwatch, Watch
from tasks.daily import arrive, close_day, enlist, open_day, poll, remember_day, settle
from tasks.explain import explain
from tasks.extract import extract
from tasks.select import select


@flow(name="daily", flow_run_name="daily {name}", validate_parameters=True)
def daily(
    archive: str, settings: Daily, block: int = 256, workers: int = 1, watch: str = "", name: str = "archive",
    pages: str = "",
) -> str:  # fmt: skip
    """Find what is new in what came in since the last run, day by day, and remember it.

    archive: a folder or s3:// prefix that keeps all. settings: what is asked for. block: images a task. workers: how
    many the work is spread over. pages: the address at which the archive's pages are served, for links and pictures.
    Twice, late, or again after a crash: what is right stays. Returns the address of the run's account, a JSON file.
    """
    marks, clock = Watch(archive, watch), Stopwatch()
    with held(archive, owner=f"daily {name}") as lease:
        polled: Polled = poll(archive, settings)
        clock.lap("poll")
        settle(archive, settings)
        listing = enlist(archive, settings)
        check_all(archive, listing, block, workers, marks)
        arrived: Arrived = arrive(archive, listing.name, settings, block, workers)
        clock.lap("ingest")
        marks.begin("extract", arrived.images, "images")
        plan = settings.plan
        gather("extract", [extract.submit(archive, plan, part, arrived.turn, marks) for part in arrived.blocks])
        clock.lap("extract")
        closed = [
            made for day in arrived.days if (made := _day(archive, settings, day, day in arrived.listed, workers, marks, pages, lease))
        ]  # fmt: skip
        clock.lap("days")
        account = log.write(archive, polled, arrived, closed, clock.laps)
    daily_artifacts.show(archive, polled, arrived, closed, clock.laps, name, pages)
    return account


def _day(
    archive: str, settings: Daily, day: str, listed: bool, workers: int, marks: Watch, pages: str, lease: Lease
) -> Closed | None:
    """One day: its lists, their explanations, its pages, and then the memory takes it in."""
    lease.check()
    if not listed:
        remember_day(archive, settings, day)
        return None
    clock = Stopwatch()
    opened = open_day(archive, settings, day)
    marks.begin("select", opened.picks, "picks")
    gather("select", [select.submit(archive, run, marks, 1) for run in opened.runs.values()])
    clock.lap("select")
    overall = next(iter(opened.runs.values()), "")
    rendering = settings.plan.rendering
    groups, cost = spread(rendering, opened.picks, workers)
    marks.begin("explain", cost, "steps")
    gather("explain", [explain.submit(archive, overall, ranks, marks) for ranks in groups if overall])
    clock.lap("explain")
    lease.check()
    closed: Closed = close_day(archive, settings, day, clock.laps, pages)
    return closed
