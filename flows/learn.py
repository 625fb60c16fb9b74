"""Learn a representation from images, for plans that use it."""

from prefect import flow

from flows.artifacts import create_file_artifact, wait_for_result
from flows.ingest import ingest_inputs
from interpdisc_core.archive.layout import lock_archive
from interpdisc_core.archive.run import RunInputs
from interpdisc_core.pipeline.preconditions import check_run
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from tasks.evaluate import collect_images, export_plan, learn_representation


@flow(name="learn", flow_run_name="learn {name}", validate_parameters=True)
def learn(
    inputs: RunInputs,
    archive: str,
    plan: Plan,
    out: str,
    block: int = 1024,
    workers: int = 1,
    name: str = "images",
    progress_token: str = "",
) -> str:
    """Learn the representation of a plan from images, and write a plan that uses the learned weights.

    Args:
        inputs: The images.
        archive: A folder or s3:// prefix that keeps state; the same call resumes from there.
        plan: A plan whose representation can be learned.
        out: NAME.json, the new plan; the weights are written to NAME.safetensors.
        block: Images of a task.
        workers: How many workers the tasks are spread over.
        name: Of the flow run.
        progress_token: See `ProgressReporter`.

    Returns:
        The address of the result's JSON file.
    """
    check_run(archive, inputs, out.rpartition("/")[0])
    progress = ProgressReporter(archive, progress_token)
    with lock_archive(archive, owner="learn") as lock:
        listing = ingest_inputs(archive, inputs, block, workers, progress)
        dataset = wait_for_result(collect_images.submit(archive, listing.name, inputs, block, workers))
        progress.begin_stage("learn", 100, "%")
        weights_address = wait_for_result(
            learn_representation.submit(archive, dataset.name, plan.representation.kind, plan.representation, progress)
        )
        lock.check()
        export = export_plan(archive, dataset.name, plan, weights_address, out)
        create_file_artifact("weights", export.weights, f"Weights of {export.plan}")
        return export.result_address
