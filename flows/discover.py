"""Discover: ingest → extract → select → explain → publish."""

from prefect import flow

from flows.artifacts import create_run_artifacts, gather_results
from flows.extract import extract_blocks
from flows.ingest import ingest_inputs
from interpdisc_core.archive.layout import lock_archive
from interpdisc_core.archive.run import Run, RunInputs
from interpdisc_core.pipeline.explain import partition_ranks
from interpdisc_core.pipeline.outstanding import DEFAULT_MAX_OUTSTANDING
from interpdisc_core.pipeline.preconditions import check_run
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter, Stopwatch
from interpdisc_core.storage.location import Location
from tasks.explain import explain_picks
from tasks.ingest import resolve_inputs
from tasks.publish import publish_run
from tasks.select import select_picks


@flow(name="discover", flow_run_name="discover {name}", validate_parameters=True)
def discover(
    inputs: RunInputs,
    archive: str,
    plan: Plan | None = None,
    out: str = "",
    block: int = 1024,
    workers: int = 1,
    name: str = "images",
    progress_token: str = "",
    max_outstanding: float = DEFAULT_MAX_OUTSTANDING,
) -> str:
    """Find the images that are new compared with everything seen before, and explain each.

    Args:
        inputs: The images, and those that count as already known.
        archive: Folder or s3:// prefix that keeps what is computed; the same call again resumes.
        plan: What to compute.
        out: Folder for a copy of the report; the archive keeps one too.
        block: Most images per task.
        workers: Number of workers that share the work.
        name: Of the run in Prefect's UI.
        progress_token: Names the run's progress in the archive; empty: none is written.
        max_outstanding: Largest share of the inputs that the run may go on without, since they cannot be got at; one it
            always may.

    Returns:
        The address of the run's result.json.
    """
    plan = plan or Plan()
    check_run(archive, inputs, out, plan)
    progress, clock = ProgressReporter(archive, progress_token), Stopwatch()

    with lock_archive(archive, owner="discover") as lock:
        listing = ingest_inputs(archive, inputs, block, workers, progress, max_outstanding)
        ingest_result = resolve_inputs(archive, listing.name, plan, inputs, block, workers)
        clock.lap("ingest")

        blocks = [(plan, block_id) for block_id in ingest_result.blocks]
        extract_blocks(
            archive, blocks, ingest_result.images, ingest_result.sequence, progress, max_outstanding, listing.name
        )
        clock.lap("extract")

        lock.check()
        progress.begin_stage("select", plan.picks, "picks")
        selection_result = select_picks(archive, ingest_result.run, progress, workers)
        clock.lap("select")

        rendering = Run(Location.parse(archive), ingest_result.run).rendering
        groups, cost = partition_ranks(rendering, selection_result.picks, workers)
        progress.begin_stage("explain", cost, "steps")
        gather_results(
            "explain",
            [explain_picks.submit(archive, ingest_result.run, ranks, progress) for ranks in groups],
            lambda index: explain_picks.submit(archive, ingest_result.run, groups[index], progress),
        )
        clock.lap("explain")

        lock.check()
        publication = publish_run(archive, ingest_result.run, out, clock.laps)
        create_run_artifacts(publication)
        return publication.address
