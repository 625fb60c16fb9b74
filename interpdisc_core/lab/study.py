"""A study: what an evaluation compares, as one frozen value.

An experiment is a grid: every one of its representations, treated in every one of its ways, with every one of its
selectors (or other methods), on every one of its trials. A cell is one of these. What things are called in tables are
the names that they are given here.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter

from interpdisc_core import plan
from interpdisc_core.errors import PlanError
from interpdisc_core.lab.label_errors import Confident, Method, Neighbours, WithinClass
from interpdisc_core.lab.trials import Trials, Whole, compiled
from interpdisc_core.representations import EfficientNetLite0, Representation
from interpdisc_core.selectors import Demud, Selector, Shuffle
from interpdisc_core.treatments import Treatment


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """How soon selectors show what classes there are, and images of the classes that are named as novel.

    t: picks; nAUC_t is of so many. novel: classes whose images are to be found; empty for no such measures.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["discovery"] = "discovery"
    representations: dict[str, Representation] = field(default_factory=lambda: {"lite0 pooled": EfficientNetLite0()})
    treatments: dict[str, Treatment] = field(default_factory=lambda: {"raw": Treatment()})
    selectors: dict[str, Selector] = field(
        default_factory=lambda: {"DEMUD": Demud(), "SVD": Demud(method="static"), "random": Shuffle()}
    )
    trials: dict[str, Trials] = field(default_factory=lambda: {"all images": Whole()})
    t: int = 300
    novel: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _named(self, ("representations", "treatments", "selectors", "trials"))
        if self.t < 1:
            raise PlanError(f"study: t must be at least 1 pick, not {self.t}.")


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """Which labels are wrong: wrong ones are planted, and methods say which they are; then what they find in the real ones.

    rates: shares of the labels that are made wrong. draws: how often, of each. shown: how many of the most suspicious
    real labels a page shows, by the first of the methods.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["label-errors"] = "label-errors"
    representations: dict[str, Representation] = field(default_factory=lambda: {"lite0 pooled": EfficientNetLite0()})
    treatments: dict[str, Treatment] = field(default_factory=lambda: {"raw": Treatment()})
    methods: dict[str, Method] = field(
        default_factory=lambda: {
            "DEMUD within a class": WithinClass(),
            "neighbours disagree": Neighbours(),
            "confident learning": Confident(),
        }
    )
    trials: dict[str, Trials] = field(default_factory=lambda: {"all images": Whole()})
    rates: tuple[float, ...] = (0.02, 0.05, 0.1)
    draws: int = 3
    seed: int = 0
    shown: int = 60

    def __post_init__(self) -> None:
        _named(self, ("representations", "treatments", "methods", "trials"))
        if not self.rates or not all(0 < rate < 1 for rate in self.rates):
            raise PlanError(f"study: rates of wrong labels lie between 0 and 1, not {list(self.rates)}.")
        if self.draws < 1:
            raise PlanError(f"study: draws must be at least 1, not {self.draws}.")


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Day by day, each scored against the memory of the days before, which then learns it.

    day: a regular expression that finds an image's day in its id, or in another `column` of what is known of it; days
    are ordered as numbers where all of them are. horizon: the memory is of so many days before; None for all.
    budgets: how many pictures a day a person looks at.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["replay"] = "replay"
    representations: dict[str, Representation] = field(default_factory=lambda: {"lite0 pooled": EfficientNetLite0()})
    treatments: dict[str, Treatment] = field(default_factory=lambda: {"raw": Treatment()})
    selectors: dict[str, Selector] = field(default_factory=lambda: {"DEMUD": Demud()})
    horizons: tuple[int | None, ...] = (None,)
    trials: dict[str, Trials] = field(default_factory=lambda: {"all images": Whole()})
    day: str = r"^(\d+)"
    column: str = "id"
    budgets: tuple[int, ...] = (1, 3, 5, 10)

    def __post_init__(self) -> None:
        _named(self, ("representations", "treatments", "selectors", "trials"))
        compiled(self.day, "study: day")
        if any(treatment.whiten for treatment in self.treatments.values()):
            raise PlanError(
                "study: a replay cannot whiten: the directions would be those of days that are still to come."
            )
        if not self.budgets or min(self.budgets) < 1:
            raise PlanError(f"study: budgets are pictures a day, at least 1, not {list(self.budgets)}.")
        if not self.horizons or any(days is not None and days < 1 for days in self.horizons):
            raise PlanError(f"study: a horizon is at least one day, or null for all, not {list(self.horizons)}.")


Experiment = Annotated[Discovery | LabelErrors | Replay, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class Study:
    """experiments: what is done, by the names that the page shows. title: of the page."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    experiments: dict[str, Experiment] = field(default_factory=lambda: {"discovery": Discovery()})
    title: str = "Evaluation"

    def __post_init__(self) -> None:
        if not self.experiments:
            raise PlanError("study: has no experiments.")
        names: dict[str, Any] = {}
        for experiment in self.experiments.values():
            for name, representation in experiment.representations.items():
                if names.setdefault(name, representation) != representation:
                    raise PlanError(f"study: {name!r} is the name of two different representations.")

    @property
    def representations(self) -> dict[str, Any]:
        """Every representation of its experiments, by name."""
        return {n: r for experiment in self.experiments.values() for n, r in experiment.representations.items()}


def with_representations(study: Study, known: dict[str, Any]) -> Study:
    """The study with other representations of the same names, as when they have been learned."""
    return replace(
        study,
        experiments={
            title: replace(e, representations={name: known[name] for name in e.representations})
            for title, e in study.experiments.items()
        },
    )


_ADAPTER: TypeAdapter[Study] = TypeAdapter(Study)


def parse(value: Any, where: str = "study") -> Study:
    """A study from its JSON value. Raises PlanError with a sentence that names the field."""
    return plan.validated(_ADAPTER, value, where)


def read(path: str) -> Study:
    """A study from a JSON file. Raises PlanError where there is none or it is not one."""
    return parse(plan.json_at(path), path)


def to_json(study: Study) -> dict[str, Any]:
    """The study as a JSON value that `parse` reads back to an equal one."""
    return asdict(study)


def text(study: Study) -> bytes:
    """The study as the bytes of a JSON file; names stay in their order, which is that of tables."""
    return json.dumps(to_json(study), indent=1).encode() + b"\n"


def _named(experiment: Any, fields: tuple[str, ...]) -> None:
    for name in fields:
        if not getattr(experiment, name):
            raise PlanError(f"study: {experiment.kind} has no {name}.")
