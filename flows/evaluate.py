"""Evaluate: ingest → collect → learn → extract → measure → publish."""

from prefect import flow

from flows.artifacts import finished, gather
from flows.evaluation_artifacts import show
from flows.ingesting import ingest
from interpdisc_core.lab.collection import left
from interpdisc_core.lab.learning import unlearned
from interpdisc_core.lab.study import Study, with_representations
from interpdisc_core.lease import held
from interpdisc_core.progress import Stopwatch, Watch
from interpdisc_core.runs import Inputs
from tasks.evaluate import arrange, collect, learn, measure, publish
from tasks.extract import extract


@flow(name="evaluate", flow_run_name="evaluate {name}", validate_parameters=True)
def evaluate(
    inputs: Inputs, archive: str, study: Study | None = None, out: str = "", block: int = 1024, workers: int = 1,
    command: str = "", name: str = "images", watch: str = "",
) -> str:  # fmt: skip
    """Compare methods on images whose classes are known: does this find what matters in them, and sooner than others?

    inputs: images with labels. archive: a folder or s3:// prefix that keeps what is computed: features, learned
    weights, every cell of the study; the same call again goes on from there. study: what is compared. out: a folder for
    tables and page beside the archive's own copy. block: images a task. workers: how many the work is spread over.
    command: what was typed, for the page. Returns the address of the study's result.json.
    """
    study = study or Study()
    marks, clock = Watch(archive, watch), Stopwatch()

    with held(archive, owner="evaluate") as lease:
        listing = ingest(archive, inputs, block, workers, marks)
        collected = finished(collect.submit(archive, listing.name, inputs, study, block, workers))
        clock.lap("ingest")

        new = unlearned(study.representations)
        marks.begin("learn", 100 * len(new), "%")
        learned = gather(
            "learn", [learn.submit(archive, collected.name, key, spec, marks) for key, spec in new.items()]
        )
        addresses = dict(zip(new, learned, strict=True))
        study = with_representations(
            study, study.representations | {key: spec.having(addresses[key]) for key, spec in new.items()}
        )
        clock.lap("learn")

        blocks, images = left(archive, collected.name, study.representations.values())
        marks.begin("extract", images, "images")
        gather("extract", [extract.submit(archive, plan, part, collected.turn, marks) for plan, part in blocks])
        clock.lap("extract")

        lease.check()
        arranged = finished(arrange.submit(archive, collected.name, study, workers))
        marks.begin("measure", arranged.left, "cells")
        gather("measure", [measure.submit(archive, arranged.name, part, marks) for part in arranged.parts])
        clock.lap("measure")

        lease.check()
        published = publish(archive, arranged.name, out, command, clock.laps)
        show(published)
        return str(published.address)
