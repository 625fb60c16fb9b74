"""The cells of a study: what each is, and which of them a task does."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from interpdisc_core import digest
from interpdisc_core.lab.collection import Collection
from interpdisc_core.lab.study import Discovery, LabelErrors, Replay, Study
from interpdisc_core.lab.trials import Index, Labelled, Trial
from interpdisc_core.representations import features_of
from interpdisc_core.storage import Place

REVISION = 1
"""Of what a cell computes and keeps; another one makes all cells anew."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry of an experiment's grid, by the names of its parts. number: of the trial.

    variant: what else distinguishes it, in words, and setting, for programs: of label errors the rate of planted labels
    and the number of the draw, None for the real labels; of a replay the horizon. digest: names its outcome by
    everything that it depends on, so that other studies of the same images use it too.
    """

    experiment: str
    representation: str
    treatment: str
    method: str
    trials: str
    number: int
    variant: str
    setting: Any
    digest: str


def place_of(url: str, name: str) -> Place:
    """Where a study keeps what is its own."""
    return Place.of(url) / f"lab/studies/{name}"


def outcomes(url: str) -> Place:
    """Where the outcomes of all cells are."""
    return Place.of(url) / "lab/cells"


def problems(url: str) -> Place:
    """Where it is said of cells why they could not be computed; the next run tries them again."""
    return Place.of(url) / "lab/problems"


def trials_of(experiment: Any, images: Collection, among: Index) -> dict[str, list[Trial]]:
    """The trials of an experiment over the images `among` (rows of the collection): rows of the collection again.

    Raises PlanError where one of them cannot be drawn.
    """
    about = images.about
    there = Labelled(
        [about.ids[row] for row in among],
        [about.labels[row] for row in among],
        {name: [column[row] for row in among] for name, column in about.columns.items()},
    )
    return {
        name: [Trial(trial.number, among[trial.rows]) for trial in trials.draw(there)]
        for name, trials in experiment.trials.items()
    }


def cells(study: Study, images: Collection, among: Index) -> Iterator[tuple[Cell, Trial]]:
    """All cells with their trials, those of one representation, trial and treatment next to each other."""
    # Settings by content: features by their digest, so that where a learned file lies does not matter.
    known = {name: features_of(representation) for name, representation in study.representations.items()}
    for title, experiment in study.experiments.items():
        drawn = trials_of(experiment, images, among)
        rows = {
            (name, trial.number): digest.of_json(
                [[images.members[row].sha256, images.members[row].label, images.members[row].id] for row in trial.rows]
            )
            for name, trials in drawn.items()
            for trial in trials
        }
        methods: dict[str, Any] = getattr(experiment, "methods", None) or getattr(experiment, "selectors", {})
        for representation in experiment.representations:
            for name, trials in drawn.items():
                for trial in trials:
                    for treatment, treated in experiment.treatments.items():
                        for method, settings in methods.items():
                            for variant, setting in _variants(experiment):
                                content = [
                                    REVISION, experiment.kind, _rest(experiment), known[representation], asdict(treated),
                                    asdict(settings), rows[name, trial.number], setting,
                                ]  # fmt: skip
                                cell = Cell(
                                    title, representation, treatment, method, name, trial.number, variant, setting,
                                    digest.of_json(content),
                                )  # fmt: skip
                                yield cell, trial


def _variants(experiment: Any) -> list[tuple[str, Any]]:
    if isinstance(experiment, LabelErrors):
        planted = [(rate, number) for rate in experiment.rates for number in range(experiment.draws)]
        return [("real labels", None), *((f"{100 * rate:g} % planted", [rate, number]) for rate, number in planted)]
    if isinstance(experiment, Replay):
        return [("all days before" if days is None else f"{days} days before", days) for days in experiment.horizons]
    return [("", None)]


def _rest(experiment: Any) -> Any:
    """The settings that are no names of the grid."""
    if isinstance(experiment, Discovery):
        return [experiment.t, list(experiment.novel)]
    if isinstance(experiment, LabelErrors):
        return [experiment.seed]
    return [experiment.day, experiment.column, list(experiment.budgets)]
