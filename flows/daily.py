"""The flow `daily`: poll → ingest → extract; then for each day select → explain → publish → commit."""

from prefect import flow

from flows import daily_artifacts
from flows.artifacts import gather_results
from flows.extract import extract_blocks
from flows.ingest import check_listing
from interpdisc_core.archive.layout import lock_archive
from interpdisc_core.operations.daily import finish
from interpdisc_core.operations.daily.days import ALL_IMAGES
from interpdisc_core.operations.daily.finish import FinishedDay
from interpdisc_core.operations.daily.ingest import IngestSummary, PollSummary
from interpdisc_core.operations.daily.prepare import PreparedDay
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.pipeline.explain import partition_ranks
from interpdisc_core.pipeline.outstanding import DEFAULT_MAX_OUTSTANDING
from interpdisc_core.pipeline.preconditions import check_archive, check_sources, check_weights
from interpdisc_core.progress import ProgressReporter, Stopwatch
from interpdisc_core.storage.lock import Lease
from tasks.daily import (
    apply_verdicts,
    finish_day,
    ingest_days,
    list_daily_inputs,
    poll_source,
    prepare_day,
    remember_day,
)
from tasks.explain import explain_picks
from tasks.select import select_picks


@flow(name="daily", flow_run_name="daily {name}", validate_parameters=True)
def daily(
    archive: str,
    settings: Daily,
    block: int = 256,
    workers: int = 1,
    progress_token: str = "",
    name: str = "archive",
    pages: str = "",
    max_outstanding: float = DEFAULT_MAX_OUTSTANDING,
) -> str:
    """Find what is new in the images that came in since the last run, day by day, and remember them.

    Safe to repeat: after a crash, for late data, or by mistake.

    Args:
        archive: A folder or s3:// prefix that keeps everything.
        settings: What to read, compare and pick.
        block: Maximum number of images per task.
        workers: Number of workers that the work is spread over.
        progress_token: Where progress is marked; empty for nowhere.
        name: Name of the archive in the Prefect UI.
        pages: Address at which the archive's pages are served, for links and pictures.
        max_outstanding: Largest share of the inputs that the run may go on without, since they cannot be got at; one it
            always may.

    Returns:
        The address of the run's log, a JSON file.
    """
    check_sources([settings.source])
    check_weights(settings.plan)
    check_archive(archive, [settings.source])
    progress, clock = ProgressReporter(archive, progress_token), Stopwatch()
    with lock_archive(archive, owner=f"daily {name}") as lock:
        poll_summary: PollSummary = poll_source(archive, settings)
        clock.lap("poll")
        apply_verdicts(archive, settings)
        listing = list_daily_inputs(archive, settings)
        check_listing(archive, listing, block, workers, progress, max_outstanding)
        ingest_summary: IngestSummary = ingest_days(archive, listing.name, settings, block, workers)
        clock.lap("ingest")
        blocks = [(settings.plan, block_id) for block_id in ingest_summary.blocks]
        extract_blocks(archive, blocks, ingest_summary.images, ingest_summary.sequence, progress, max_outstanding)
        clock.lap("extract")
        finished_days = []
        for day in ingest_summary.days:
            lock.check()
            if day in ingest_summary.days_with_picks:
                finished_days.append(_process_day(archive, settings, day, workers, progress, pages, lock))
            else:
                remember_day(archive, settings, day)
        clock.lap("days")
        address = finish.write_run_log(archive, poll_summary, ingest_summary, finished_days, clock.laps)
    daily_artifacts.create_daily_artifacts(
        archive, poll_summary, ingest_summary, finished_days, clock.laps, name, pages
    )
    return address


def _process_day(
    archive: str,
    settings: Daily,
    day: str,
    workers: int,
    progress: ProgressReporter,
    pages: str,
    lock: Lease,
) -> FinishedDay:
    """Select and explain the picks of a day, publish its pages, and commit it to the memory."""
    clock = Stopwatch()
    prepared_day: PreparedDay = prepare_day(archive, settings, day)
    progress.begin_stage("select", prepared_day.picks, "picks", label=f"select {day}")
    gather_results("select", [select_picks.submit(archive, run, progress, 1) for run in prepared_day.runs.values()])
    clock.lap("select")
    run = prepared_day.runs.get(ALL_IMAGES, "")
    groups, cost = partition_ranks(settings.plan.rendering, prepared_day.picks, workers)
    progress.begin_stage("explain", cost, "steps", label=f"explain {day}")
    gather_results(
        "explain",
        [explain_picks.submit(archive, run, ranks, progress) for ranks in groups if run],
        lambda index: explain_picks.submit(archive, run, groups[index], progress),
    )
    clock.lap("explain")
    lock.check()
    finished_day: FinishedDay = finish_day(archive, settings, day, clock.laps, pages)
    return finished_day
