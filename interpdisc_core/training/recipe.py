"""The recipe: everything that defines what a training computes, as one frozen value."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter

from interpdisc_core import digest, plan
from interpdisc_core.errors import PlanError
from interpdisc_core.inverters import checkpoint
from interpdisc_core.inverters.generators import Generator, LightGenerator
from interpdisc_core.representations import EfficientNetLite0, Representation, features_of


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """representation: whose features are inverted. generator: the network that is trained.

    where: which images are trained on (an expression, see `interpdisc_core.subset`), empty for all. validation: the
    share of them that is kept for the score after each epoch and for early stopping, chosen by content. views: of
    each image, 1 as it is, 2 also mirrored. images: at most so many, drawn by `seed`. epoch: examples from one
    validation to the next. batch, rate: of Adam. image, feature: weights of the two losses, each 1 for an inverter
    that always shows the mean image. feature_from: the first epoch with the feature loss: forms and colours come
    without it. share: of a batch that is encoded again for it, which costs several times the generator. adversarial:
    weight of a discriminator's verdict, 0 for none. patience: epochs without a better validation score after which
    the rate is halved; where that happens a fourth time, training stops. start: a checkpoint from whose weights
    training starts, of the same representation and generator; empty for random ones.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    representation: Representation = field(default_factory=lambda: EfficientNetLite0(output="grid"))
    generator: Generator = field(default_factory=lambda: LightGenerator(cells=4))
    where: str = ""
    validation: float = 0.03
    views: Literal[1, 2] = 2
    images: int = 200_000
    seed: int = 0
    epoch: int = 8192
    batch: int = 16
    rate: float = 4e-4
    image: float = 1.0
    feature: float = 0.25
    feature_from: int = 8
    share: float = 0.25
    adversarial: float = 0.0
    patience: int = 4
    start: str = ""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise PlanError(f"recipe: validation must be a share between 0 and 1, not {self.validation}.")
        for name in ("images", "epoch", "batch", "patience", "feature_from"):
            if getattr(self, name) < 1:
                raise PlanError(f"recipe: {name} must be at least 1, not {getattr(self, name)}.")
        if self.seed < 0:
            raise PlanError(f"recipe: seed must be 0 or more, not {self.seed}.")
        if not 0 <= self.share <= 1:
            raise PlanError(f"recipe: share must be 0 to 1, not {self.share}.")
        for name in ("image", "feature", "adversarial"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise PlanError(f"recipe: the weight {name} must be a number of at least 0, not {getattr(self, name)}.")
        if not 0 < self.rate < 1:
            raise PlanError(f"recipe: rate must be between 0 and 1, not {self.rate}.")

    @property
    def features(self) -> str:
        """The digest of the representation's features; see `interpdisc_core.representations.features_of`."""
        return features_of(self.representation)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change exactly when the recipe does; of `start` the content counts."""
        begun = checkpoint.content(self.start) if self.start else ""
        return digest.of_json([digest.of_settings(replace(self, start="")), self.features, begun])


_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Recipe)


def parse(value: Any, where: str = "recipe") -> Recipe:
    """A recipe from its JSON value. Raises PlanError with a sentence that names the field."""
    return plan.validated(_ADAPTER, value, where)


def read(path: str) -> Recipe:
    """A recipe from a JSON file. Raises PlanError where there is none or it is not one."""
    return parse(plan.json_at(path), path)


def cells_of(representation: Any) -> int:
    """Cells a side of a representation whose vectors are a grid of places, 1 for one that says nothing of places."""
    return int(representation.grid) if getattr(representation, "output", "") == "grid" else 1
