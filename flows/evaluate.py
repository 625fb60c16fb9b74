"""Evaluate methods on labeled images: ingest → collect → learn → extract → measure → publish."""

from prefect import flow

from flows.artifacts import gather_results, wait_for_result
from flows.evaluation_artifacts import create_evaluation_artifacts
from flows.extract import extract_blocks
from flows.ingest import ingest_inputs
from interpdisc_core.archive.layout import lock_archive
from interpdisc_core.archive.run import RunInputs
from interpdisc_core.evaluation.dataset import list_missing_blocks
from interpdisc_core.evaluation.learn_representation import select_untrained
from interpdisc_core.evaluation.study import Study, replace_representations
from interpdisc_core.pipeline.preconditions import check_run
from interpdisc_core.progress import ProgressReporter, Stopwatch
from tasks.evaluate import collect_dataset, learn_representation, publish_study, run_cells, schedule_cells


@flow(name="evaluate", flow_run_name="evaluate {name}", validate_parameters=True)
def evaluate(
    inputs: RunInputs,
    archive: str,
    study: Study | None = None,
    out: str = "",
    block: int = 1024,
    workers: int = 1,
    command: str = "",
    name: str = "images",
    progress_token: str = "",
) -> str:
    """Compare methods on images whose classes are known: does this program find new classes, and sooner than others?

    Args:
        inputs: Images with labels.
        archive: A folder or s3:// prefix for features, learned weights and outcomes; the same call resumes from there.
        study: What is compared; None: the default study.
        out: A folder for a copy of the page and tables; empty: none.
        block: Images of a task.
        workers: How many workers the tasks are spread over.
        command: What was typed, for the page.
        name: Of the flow run.
        progress_token: See `ProgressReporter`.

    Returns:
        The address of the study's result.json.
    """
    study = study or Study()
    check_run(archive, inputs, out)
    progress, clock = ProgressReporter(archive, progress_token), Stopwatch()

    with lock_archive(archive, owner="evaluate") as lock:
        listing = ingest_inputs(archive, inputs, block, workers, progress)
        dataset = wait_for_result(collect_dataset.submit(archive, listing.name, inputs, study, block, workers))
        clock.lap("ingest")

        specs_to_learn = select_untrained(study.representations)
        progress.begin_stage("learn", 100 * len(specs_to_learn), "%")
        weight_addresses = gather_results(
            "learn",
            [
                learn_representation.submit(archive, dataset.name, key, spec, progress)
                for key, spec in specs_to_learn.items()
            ],
        )
        weights_by_key = dict(zip(specs_to_learn, weight_addresses, strict=True))
        study = replace_representations(
            study,
            study.representations
            | {key: spec.with_weights(weights_by_key[key]) for key, spec in specs_to_learn.items()},
        )
        clock.lap("learn")

        blocks, images = list_missing_blocks(archive, dataset.name, study.representations.values())
        extract_blocks(archive, blocks, images, dataset.sequence, progress)
        clock.lap("extract")

        lock.check()
        schedule = wait_for_result(schedule_cells.submit(archive, dataset.name, study, workers))
        progress.begin_stage("measure", schedule.remaining_cells, "cells")
        gather_results(
            "measure", [run_cells.submit(archive, schedule.name, part, progress) for part in schedule.part_numbers]
        )
        clock.lap("measure")

        lock.check()
        publication = publish_study(archive, schedule.name, out, command, clock.laps)
        create_evaluation_artifacts(publication)
        return publication.result_address
