"""Explain: the picks of a run that is there, rendered in another way. Nothing is selected again."""

from prefect import flow

from flows.artifacts import gather, show
from interpdisc_core.explanation import spread
from interpdisc_core.lease import held
from interpdisc_core.plan import Rendering
from interpdisc_core.progress import Stopwatch, Watch
from tasks.explain import begin
from tasks.explain import explain as explain_picks
from tasks.publish import publish


@flow(name="explain", flow_run_name="explain {run}", validate_parameters=True)
def explain(archive: str, run: str, rendering: Rendering, out: str = "", workers: int = 1, watch: str = "") -> str:
    """Render and measure the picks of a run by another inverter, and publish it anew.

    archive, run: which. rendering: how; the run keeps it, and what was rendered before stays beside that. out: a folder
    for the report beside the archive's own copy. Returns the address of the run's result.json.
    """
    marks, clock = Watch(archive, watch), Stopwatch()
    with held(archive, owner="explain") as lease:
        picks = begin(archive, run, rendering)
        groups, cost = spread(rendering, picks, workers)
        marks.begin("explain", cost, "steps")
        gather("explain", [explain_picks.submit(archive, run, ranks, marks) for ranks in groups])
        clock.lap("explain")
        lease.check()
        published = publish(archive, run, out, clock.laps)
        show(published)
        return published.address
