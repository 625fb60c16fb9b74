"""Train an inverter: ingest → assign → prepare → train, epoch by epoch → score."""

from prefect import flow

from flows.artifacts import gather_results, wait_for_result
from flows.ingest import ingest_inputs
from flows.training_artifacts import create_checkpoint_artifacts, create_epoch_artifacts
from interpdisc_core.archive.layout import lock_archive
from interpdisc_core.archive.run import RunInputs
from interpdisc_core.pipeline.preconditions import check_archive, check_checkpoint, check_output_folder, check_sources
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.storage.location import Location
from interpdisc_core.training.assign_images import split_archives
from interpdisc_core.training.finish import CheckpointDescription
from interpdisc_core.training.history import read_history
from interpdisc_core.training.recipe import Recipe
from tasks.train import assign_images, export_checkpoint, prepare_examples, score_inverter, train_epoch


@flow(name="train-inverter", flow_run_name="train {name}", validate_parameters=True)
def train_inverter(
    sources: tuple[str, ...],
    archive: str,
    out: str,
    recipe: Recipe | None = None,
    held_out: dict[str, str] | None = None,
    epochs: int = 100,
    hours: float | None = None,
    description: CheckpointDescription | None = None,
    block: int = 1024,
    workers: int = 1,
    name: str = "images",
    progress_token: str = "",
) -> str:
    """Train a network that turns features back into pictures, and score it on held-out images.

    Args:
        sources: Images to train on, or whole archives.
        archive: A folder or s3:// prefix for examples and state; the same call resumes from there.
        out: Address of the checkpoint.
        recipe: How to train; None: the default recipe.
        held_out: By name, expressions of images that are only scored.
        epochs: Train at most this many epochs, earlier calls included; fewer if more would not help.
        hours: Train at most this long, earlier calls included; None: no limit.
        description: What the checkpoint's metadata say.
        block: Images of a task.
        workers: How many workers the tasks are spread over.
        name: Of the flow run.
        progress_token: See `ProgressReporter`.

    Returns:
        The address of the training's result.json.
    """
    recipe, description = recipe or Recipe(), description or CheckpointDescription()
    check_sources(sources)
    check_checkpoint(recipe.start)
    check_output_folder(out.rpartition("/")[0])
    check_archive(archive, sources)
    progress = ProgressReporter(archive, progress_token)

    with lock_archive(archive, owner="train-inverter") as lock:
        archives, image_sources = split_archives(sources)
        listing_name = ""
        if image_sources:
            listing_name = ingest_inputs(archive, RunInputs(sources=image_sources), block, workers, progress).name
        splits = wait_for_result(assign_images.submit(archive, listing_name, archives, recipe, held_out or {}, workers))

        progress.begin_stage("prepare", splits.unprepared_images, "images")
        gather_results(
            "prepare", [prepare_examples.submit(archive, splits.name, part, progress) for part in splits.parts]
        )

        epochs_done = len(read_history(Location.parse(archive), splits.name))
        progress.begin_stage("train", recipe.epoch * max(epochs - epochs_done, 0), "examples")
        epoch_number = max(epochs_done, 1)
        while True:
            lock.check()
            epoch_result = wait_for_result(train_epoch.submit(archive, splits.name, epoch_number, workers, progress))
            create_epoch_artifacts(archive, epoch_result)
            progress.send_message(epoch_result.status_line)
            if epoch_result.should_stop(epochs, hours):
                break
            epoch_number = len(epoch_result.history) + 1

        progress.send_message("scoring the inverter on held-out images …")
        score_result = wait_for_result(score_inverter.submit(archive, splits.name, description, workers))
        lock.check()
        export = export_checkpoint(archive, splits.name, score_result, out)
        create_checkpoint_artifacts(export)
        return export.result_address
