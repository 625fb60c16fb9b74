"""Discover: ingest → extract → select → explain → publish."""

from prefect import flow

from flows.artifacts import gather, show
from flows.ingesting import ingest
from interpdisc_core.explanation import spread
from interpdisc_core.lease import held
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Stopwatch, Watch
from interpdisc_core.runs import Inputs, Run
from interpdisc_core.storage import Place
from tasks.explain import explain
from tasks.extract import extract
from tasks.ingest import settle
from tasks.publish import publish
from tasks.select import select


@flow(name="discover", flow_run_name="discover {name}", validate_parameters=True)
def discover(
    inputs: Inputs, archive: str, plan: Plan | None = None, out: str = "", block: int = 1024, workers: int = 1,
    name: str = "images", watch: str = "",
) -> str:  # fmt: skip
    """Find the images that are new with respect to everything seen before, and explain each.

    inputs: what to look at. archive: a folder or s3:// prefix that keeps what is computed; the same call again goes
    on from there. plan: what to compute. out: a folder for the report beside the archive's own copy. block: images a
    task. workers: how many the work is spread over. Returns the address of the run's result.json.
    """
    plan = plan or Plan()
    marks, clock = Watch(archive, watch), Stopwatch()

    with held(archive, owner="discover") as lease:
        listing = ingest(archive, inputs, block, workers, marks)
        settled = settle(archive, listing.name, plan, inputs, block, workers)
        clock.lap("ingest")

        marks.begin("extract", settled.images, "images")
        blocks = [extract.submit(archive, plan, part, settled.turn, marks) for part in settled.blocks]
        gather("extract", blocks)
        clock.lap("extract")

        lease.check()
        marks.begin("select", plan.picks, "picks")
        selected = select(archive, settled.run, marks, workers)
        clock.lap("select")

        rendering = Run(Place.of(archive), settled.run).rendering
        groups, cost = spread(rendering, selected.picks, workers)
        marks.begin("explain", cost, "steps")
        gather("explain", [explain.submit(archive, settled.run, ranks, marks) for ranks in groups])
        clock.lap("explain")

        lease.check()
        published = publish(archive, settled.run, out, clock.laps)
        show(published)
        return published.address
