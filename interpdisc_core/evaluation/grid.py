"""The cells of a study's grids, and where their outcomes are."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from interpdisc_core import digest
from interpdisc_core._types import IndexArray
from interpdisc_core.evaluation.dataset import LabeledDataset
from interpdisc_core.evaluation.sampling import ImageTable, Trial
from interpdisc_core.evaluation.study import DiscoveryExperiment, LabelErrorExperiment, ReplayExperiment, Study
from interpdisc_core.representations import digest_features
from interpdisc_core.storage.location import Location

CELL_REVISION = 1
"""Of what a cell computes and writes; with another revision all cells are computed again."""


@dataclass(frozen=True, slots=True)
class GridCell:
    """One entry of an experiment's grid, by the names of its parts.

    Attributes:
        experiment, representation, treatment, method, trials: Names.
        number: Of the trial, from 0.
        variant: What else distinguishes it, in words; empty for discovery.
        setting: The same for programs: for label errors the rate of planted labels and the number of the draw, None for
            the real labels; for a replay the horizon.
        digest: Names its outcome by everything that it depends on, so that other studies of the same images use it.
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


def locate_study(url: str, name: str) -> Location:
    """The folder of a study."""
    return Location.parse(url) / f"lab/studies/{name}"


def locate_outcomes(url: str) -> Location:
    """The folder of the outcomes of the cells of all studies."""
    return Location.parse(url) / "lab/cells"


def locate_problems(url: str) -> Location:
    """The folder of the reasons why cells could not be computed; the next run computes them again."""
    return Location.parse(url) / "lab/problems"


def draw_trials(experiment: Any, dataset: LabeledDataset, eligible_rows: IndexArray) -> dict[str, list[Trial]]:
    """The trials of an experiment, by name; their rows are rows of the collection.

    Args:
        experiment: Whose trials are drawn.
        dataset: The collection.
        eligible_rows: Rows (n,) of the collection that may be drawn.

    Raises:
        PlanError: If a trial cannot be drawn.
    """
    table = dataset.table
    eligible = ImageTable(
        [table.ids[row] for row in eligible_rows],
        [table.labels[row] for row in eligible_rows],
        {name: [column[row] for row in eligible_rows] for name, column in table.columns.items()},
    )
    return {
        name: [Trial(trial.number, eligible_rows[trial.rows]) for trial in sampling.draw(eligible)]
        for name, sampling in experiment.trials.items()
    }


def iter_cells(study: Study, dataset: LabeledDataset, eligible_rows: IndexArray) -> Iterator[tuple[GridCell, Trial]]:
    """All cells with their trials; cells of one representation, trial and treatment follow each other."""
    # Representations by the digest of their features, so that the place of a learned file does not matter.
    feature_digests = {name: digest_features(representation) for name, representation in study.representations.items()}
    for title, experiment in study.experiments.items():
        trials_by_name = draw_trials(experiment, dataset, eligible_rows)
        trial_digests = {
            (name, trial.number): digest.digest_json(
                [
                    [dataset.members[row].sha256, dataset.members[row].label, dataset.members[row].id]
                    for row in trial.rows
                ]
            )
            for name, trials in trials_by_name.items()
            for trial in trials
        }
        methods: dict[str, Any] = getattr(experiment, "methods", None) or getattr(experiment, "selectors", {})
        for representation in experiment.representations:
            for name, trials in trials_by_name.items():
                for trial in trials:
                    for treatment, transform in experiment.treatments.items():
                        for method, settings in methods.items():
                            for variant, setting in _list_variants(experiment):
                                content = [
                                    CELL_REVISION,
                                    experiment.kind,
                                    _hashed_settings(experiment),
                                    feature_digests[representation],
                                    asdict(transform),
                                    asdict(settings),
                                    trial_digests[name, trial.number],
                                    setting,
                                ]
                                cell = GridCell(
                                    title,
                                    representation,
                                    treatment,
                                    method,
                                    name,
                                    trial.number,
                                    variant,
                                    setting,
                                    digest.digest_json(content),
                                )
                                yield cell, trial


def _list_variants(experiment: Any) -> list[tuple[str, Any]]:
    if isinstance(experiment, LabelErrorExperiment):
        planted_draws = [(rate, number) for rate in experiment.rates for number in range(experiment.draws)]
        return [
            ("real labels", None),
            *((f"{100 * rate:g} % planted", [rate, number]) for rate, number in planted_draws),
        ]
    if isinstance(experiment, ReplayExperiment):
        return [("all days before" if days is None else f"{days} days before", days) for days in experiment.horizons]
    return [("", None)]


def _hashed_settings(experiment: Any) -> Any:
    """The settings that are not part of the grid."""
    if isinstance(experiment, DiscoveryExperiment):
        return [experiment.t, list(experiment.novel)]
    if isinstance(experiment, LabelErrorExperiment):
        return [experiment.seed]
    return [experiment.day, experiment.column, list(experiment.budgets)]
