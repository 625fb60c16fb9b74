"""Learn: a representation from images themselves, for plans that use it."""

from prefect import flow
from prefect.artifacts import create_link_artifact

from flows.artifacts import finished
from flows.ingesting import ingest
from interpdisc_core.lease import held
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.runs import Inputs
from tasks.evaluate import deliver, gather
from tasks.evaluate import learn as learn_one


@flow(name="learn", flow_run_name="learn {name}", validate_parameters=True)
def learn(
    inputs: Inputs, archive: str, plan: Plan, out: str, block: int = 1024, workers: int = 1, name: str = "images", watch: str = "",
) -> str:  # fmt: skip
    """Learn the representation of a plan from images, and write the plan that names what was learned.

    archive: a folder or s3:// prefix that keeps state; the same call again goes on from there. out: NAME.json; the
    weights are put beside it. Returns the address of a result.
    """
    marks = Watch(archive, watch)
    with held(archive, owner="learn") as lease:
        listing = ingest(archive, inputs, block, workers, marks)
        collected = finished(gather.submit(archive, listing.name, inputs, block, workers))
        marks.begin("learn", 100, "%")
        address = finished(
            learn_one.submit(archive, collected.name, plan.representation.kind, plan.representation, marks)
        )
        lease.check()
        delivered = deliver(archive, collected.name, plan, address, out)
        create_link_artifact(
            f"file://{delivered.weights}", link_text="Weights", key="weights", description=delivered.plan
        )
        return str(delivered.address)
