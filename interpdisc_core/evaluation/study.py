"""A study: what an evaluation compares, as one frozen value.

An experiment is a grid: each of its representations, with each of its treatments, with each of its selectors (or other
methods), on each of its trials. One entry of the grid is a cell. Tables use the names that these have in the study.
"""

import json
from dataclasses import asdict, field, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from interpdisc_core import plan
from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation.label_errors import (
    ConfidentLearning,
    LabelErrorMethod,
    NeighborDisagreement,
    WithinClassDemud,
)
from interpdisc_core.evaluation.sampling import AllImages, Trials, compile_pattern
from interpdisc_core.representations import EfficientNetLite0, Representation
from interpdisc_core.representations.transforms import FeatureTransform
from interpdisc_core.selectors import Demud, Selector, Shuffle
from interpdisc_core.settings import parse_settings, settings

_Count = Annotated[int, Field(ge=1)]


@settings
class DiscoveryExperiment:
    """How soon selectors find the classes of a collection, and images of the classes that are named as novel.

    Attributes:
        representations: By name.
        treatments: Transforms of the features, by name.
        selectors: By name.
        trials: Which images are selected from, by name.
        t: Picks that count in nAUC_t.
        novel: Classes whose images should be found; empty: no scores of outlier ranking.

    Raises:
        PlanError: If a part of the grid is empty, or t is below 1.
    """

    kind: Literal["discovery"] = "discovery"
    representations: dict[str, Representation] = field(default_factory=lambda: {"lite0 pooled": EfficientNetLite0()})
    treatments: dict[str, FeatureTransform] = field(default_factory=lambda: {"raw": FeatureTransform()})
    selectors: dict[str, Selector] = field(
        default_factory=lambda: {"DEMUD": Demud(), "SVD": Demud(method="static"), "random": Shuffle()}
    )
    trials: dict[str, Trials] = field(default_factory=lambda: {"all images": AllImages()})
    t: _Count = 300
    novel: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_not_empty(self, "representations", "treatments", "selectors", "trials")


@settings
class LabelErrorExperiment:
    """Which labels are wrong: how well methods find wrong labels that were planted, and what they find in the real ones.

    Attributes:
        representations: By name.
        treatments: Transforms of the features, by name.
        methods: By name; the page shows the suspects of the one that finds most of the planted labels.
        trials: Which images are ranked, by name.
        rates: Shares of the labels that are made wrong, each above 0 and below 1.
        draws: How often labels are planted at each rate.
        seed: Of planting.
        shown: How many of the most suspicious real labels the page shows.

    Raises:
        PlanError: If a part of the grid is empty, or a number is out of range.
    """

    kind: Literal["label-errors"] = "label-errors"
    representations: dict[str, Representation] = field(default_factory=lambda: {"lite0 pooled": EfficientNetLite0()})
    treatments: dict[str, FeatureTransform] = field(default_factory=lambda: {"raw": FeatureTransform()})
    methods: dict[str, LabelErrorMethod] = field(
        default_factory=lambda: {
            "DEMUD within a class": WithinClassDemud(),
            "neighbours disagree": NeighborDisagreement(),
            "confident learning": ConfidentLearning(),
        }
    )
    trials: dict[str, Trials] = field(default_factory=lambda: {"all images": AllImages()})
    rates: tuple[float, ...] = (0.02, 0.05, 0.1)
    draws: _Count = 3
    seed: int = 0
    shown: int = 60

    def __post_init__(self) -> None:
        _check_not_empty(self, "representations", "treatments", "methods", "trials")
        if not self.rates or not all(0 < rate < 1 for rate in self.rates):
            raise PlanError(
                f"label-errors: rates must be shares above 0 and below 1, at least one, not {list(self.rates)}."
            )


@settings
class ReplayExperiment:
    """Day by day: each day's images are ranked by a memory of the days before, which then learns them.

    Attributes:
        representations: By name.
        treatments: Transforms of the features, by name; without whitening, which would use days to come.
        selectors: By name.
        horizons: Days that the memory is of; null: all days before.
        trials: Which images are replayed, by name.
        day: A regular expression that finds an image's day in `column`. Days are ordered as numbers if all are numbers.
        column: `id`, or another field of the images' metadata.
        budgets: Pictures that a person looks at a day.

    Raises:
        PlanError: If a part of the grid is empty, or a value is not allowed.
    """

    kind: Literal["replay"] = "replay"
    representations: dict[str, Representation] = field(default_factory=lambda: {"lite0 pooled": EfficientNetLite0()})
    treatments: dict[str, FeatureTransform] = field(default_factory=lambda: {"raw": FeatureTransform()})
    selectors: dict[str, Selector] = field(default_factory=lambda: {"DEMUD": Demud()})
    horizons: tuple[int | None, ...] = (None,)
    trials: dict[str, Trials] = field(default_factory=lambda: {"all images": AllImages()})
    day: str = r"^(\d+)"
    column: str = "id"
    budgets: tuple[int, ...] = (1, 3, 5, 10)

    def __post_init__(self) -> None:
        _check_not_empty(self, "representations", "treatments", "selectors", "trials", "budgets", "horizons")
        compile_pattern(self.day, "replay: day")
        if any(treatment.whiten for treatment in self.treatments.values()):
            raise PlanError("replay: treatments must not whiten: the directions would depend on days to come.")
        if min(self.budgets) < 1:
            raise PlanError(f"replay: budgets must be at least 1 picture a day, not {list(self.budgets)}.")
        if any(days is not None and days < 1 for days in self.horizons):
            raise PlanError(f"replay: horizons must be at least 1 day, or null for all, not {list(self.horizons)}.")


Experiment = Annotated[DiscoveryExperiment | LabelErrorExperiment | ReplayExperiment, Field(discriminator="kind")]


@settings
class Study:
    """What an evaluation compares.

    Attributes:
        experiments: By the names that the page shows.
        title: Of the page.

    Raises:
        PlanError: If there is no experiment, or two different representations have one name.
    """

    experiments: dict[str, Experiment] = field(default_factory=lambda: {"discovery": DiscoveryExperiment()})
    title: str = "Evaluation"

    def __post_init__(self) -> None:
        if not self.experiments:
            raise PlanError("study: experiments must not be empty.")
        names: dict[str, Any] = {}
        for experiment in self.experiments.values():
            for name, representation in experiment.representations.items():
                if names.setdefault(name, representation) != representation:
                    raise PlanError(f"study: {name!r} is the name of two different representations; rename one.")

    @property
    def representations(self) -> dict[str, Any]:
        """The representations of all experiments, by name."""
        return {
            name: representation
            for experiment in self.experiments.values()
            for name, representation in experiment.representations.items()
        }


def replace_representations(study: Study, representations: dict[str, Any]) -> Study:
    """The study with other representations of the same names, such as learned ones."""
    return replace(
        study,
        experiments={
            title: replace(
                experiment, representations={name: representations[name] for name in experiment.representations}
            )
            for title, experiment in study.experiments.items()
        },
    )


_ADAPTER: TypeAdapter[Study] = TypeAdapter(Study)


def parse_study(value: Any, context: str = "study") -> Study:
    """A study from its JSON value.

    Args:
        value: What `json.loads` returned.
        context: Where it comes from, for the error's sentence.

    Raises:
        PlanError: If it is not a study; the sentence names the field.

    Example:
        >>> study = parse_study({"experiments": {"pixels": {"kind": "discovery", "t": 100}}})
        >>> list(study.experiments["pixels"].selectors)
        ['DEMUD', 'SVD', 'random']
    """
    return parse_settings(_ADAPTER, value, context)


def read_study(path: str) -> Study:
    """A study from a JSON file.

    Raises:
        PlanError: If the file cannot be read, or is not a study.
    """
    return parse_study(plan.read_json_file(path), path)


def study_to_json(study: Study) -> dict[str, Any]:
    """The study as a JSON value that `parse_study` reads back to an equal one."""
    return asdict(study)


def encode_study(study: Study) -> bytes:
    """The study as the content of a JSON file. Names keep their order, which is that of tables."""
    return json.dumps(study_to_json(study), indent=1).encode() + b"\n"


def _check_not_empty(experiment: Any, *names: str) -> None:
    for name in names:
        if not getattr(experiment, name):
            raise PlanError(f"{experiment.kind}: {name} must not be empty.")
