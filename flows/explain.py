"""Explain: the picks of an existing run, rendered in another way. Nothing is selected again."""

from prefect import flow

from flows.artifacts import create_run_artifacts, gather_results
from interpdisc_core.archive.layout import lock_archive
from interpdisc_core.archive.run import Run
from interpdisc_core.pipeline.explain import partition_ranks
from interpdisc_core.pipeline.preconditions import check_output_folder, check_rendering
from interpdisc_core.plan import RenderingOptions
from interpdisc_core.progress import ProgressReporter, Stopwatch
from interpdisc_core.storage.location import Location
from tasks.explain import begin_explaining, explain_picks
from tasks.publish import publish_run


@flow(name="explain", flow_run_name="explain {run}", validate_parameters=True)
def explain(
    archive: str, run: str, rendering: RenderingOptions, out: str = "", workers: int = 1, progress_token: str = ""
) -> str:
    """Render and measure the picks of a run by another inverter, and publish the run again.

    Args:
        archive: Folder or s3:// prefix of the archive.
        run: Name of the run.
        rendering: How to render. Earlier renderings are kept next to the new one.
        out: Folder for a copy of the report; the archive keeps one too.
        workers: Number of workers that share the work.
        progress_token: Names the run's progress in the archive; empty: none is written.

    Returns:
        The address of the run's result.json.
    """
    check_output_folder(out)
    check_rendering(rendering, Run(Location.parse(archive), run).plan.representation)
    progress, clock = ProgressReporter(archive, progress_token), Stopwatch()
    with lock_archive(archive, owner="explain") as lock:
        picks = begin_explaining(archive, run, rendering)
        groups, cost = partition_ranks(rendering, picks, workers)
        progress.begin_stage("explain", cost, "steps")
        gather_results(
            "explain",
            [explain_picks.submit(archive, run, ranks, progress) for ranks in groups],
            lambda index: explain_picks.submit(archive, run, groups[index], progress),
        )
        clock.lap("explain")
        lock.check()
        publication = publish_run(archive, run, out, clock.laps)
        create_run_artifacts(publication)
        return publication.address
