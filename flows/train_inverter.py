"""Train an inverter: ingest → enrol → prepare → train, epoch by epoch → score."""

from prefect import flow

from flows.artifacts import finished, gather
from flows.ingesting import ingest
from flows.training_artifacts import show_checkpoint, show_epoch
from interpdisc_core.lease import held
from interpdisc_core.progress import Watch
from interpdisc_core.runs import Inputs
from interpdisc_core.storage import Place
from interpdisc_core.training.enrolling import parted
from interpdisc_core.training.epochs import history
from interpdisc_core.training.finish import About
from interpdisc_core.training.recipe import Recipe
from tasks.train import deliver, enrol, prepare, score, train_epoch


@flow(name="train-inverter", flow_run_name="train {name}", validate_parameters=True)
def train_inverter(
    sources: tuple[str, ...], archive: str, out: str, recipe: Recipe | None = None,
    held_out: dict[str, str] | None = None, epochs: int = 100, hours: float | None = None, about: About | None = None,
    block: int = 1024, workers: int = 1, name: str = "images", watch: str = "",
) -> str:  # fmt: skip
    """Train a network that turns features back into pictures, and score it on images that it never saw.

    sources: what to learn from, images or whole archives. archive: a folder or s3:// prefix that keeps what is
    computed; the same call again goes on from there. out: where the checkpoint goes. held_out: named expressions of
    images for the scores. epochs, hours: where it ends at the latest, earlier calls' included; it ends before where
    more epochs would not help. Returns the address of the training's result.json.
    """
    recipe, about = recipe or Recipe(), about or About()
    marks = Watch(archive, watch)

    with held(archive, owner="train-inverter") as lease:
        archives, others = parted(sources)
        listed = ""
        if others:
            listed = ingest(archive, Inputs(sources=others), block, workers, marks).name
        enrolled = finished(enrol.submit(archive, listed, archives, recipe, held_out or {}, workers))

        marks.begin("prepare", enrolled.unprepared, "images")
        gather("prepare", [prepare.submit(archive, enrolled.name, part, marks) for part in enrolled.parts])

        done = len(history(Place.of(archive), enrolled.name))
        marks.begin("train", recipe.epoch * max(epochs - done, 0), "examples")
        number = max(done, 1)
        while True:
            lease.check()
            trained = finished(train_epoch.submit(archive, enrolled.name, number, workers, marks))
            show_epoch(archive, trained)
            marks.say(trained.told)
            if trained.over(epochs, hours):
                break
            number = len(trained.history) + 1

        marks.say("scoring it on images that it never saw …")
        made = finished(score.submit(archive, enrolled.name, about, workers))
        lease.check()
        delivered = deliver(archive, enrolled.name, made, out)
        show_checkpoint(delivered)
        return delivered.address
