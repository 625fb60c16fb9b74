"""The flow `rebuild`: compute an archive's features and memory again, for other settings or after damage."""

from prefect import flow

from flows.extract import extract_blocks
from interpdisc_core.archive.layout import lock_archive
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.pipeline.outstanding import DEFAULT_MAX_OUTSTANDING
from interpdisc_core.progress import ProgressReporter
from tasks.daily import finish_rebuild, plan_rebuild, rebuild_day


@flow(name="rebuild", flow_run_name="rebuild {name}", validate_parameters=True)
def rebuild(
    archive: str,
    settings: Daily,
    workers: int = 1,
    progress_token: str = "",
    name: str = "archive",
    max_outstanding: float = DEFAULT_MAX_OUTSTANDING,
) -> str:
    """Compute the features that `settings` ask for, and rebuild the memory's record of every day from them.

    Undone days stay out; lists and pages stay as they are. If interrupted, the same call resumes. Until it has finished,
    daily runs refuse to mix records made by different settings.

    Args:
        archive: The archive.
        settings: Of the daily runs to come.
        workers: Number of workers; not used, the work is one task per block and day.
        progress_token: Where progress is marked; empty for nowhere.
        name: Name of the archive in the Prefect UI.
        max_outstanding: Largest share of the images that the run may go on without, since they cannot be got at.

    Returns:
        The address of the rebuild's log, a JSON file.
    """
    progress = ProgressReporter(archive, progress_token)
    with lock_archive(archive, owner=f"rebuild {name}"):
        rebuild_plan = plan_rebuild(archive, settings)
        blocks = [(settings.plan, part) for part in rebuild_plan.blocks]
        extract_blocks(archive, blocks, rebuild_plan.images, rebuild_plan.sequence, progress, max_outstanding)
        progress.begin_stage("rebuild", len(rebuild_plan.days), "days")
        meter = progress.open_meter("rebuild", "days")
        for day in rebuild_plan.days:
            rebuild_day(archive, settings, day)
            meter.add(1)
        meter.flush()
        address: str = finish_rebuild(archive, settings)
    return address
