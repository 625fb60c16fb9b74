"""The recipe: everything that decides what a training computes, as one frozen value."""

from dataclasses import field, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from interpdisc_core import digest, plan
from interpdisc_core.inverters import checkpoint
from interpdisc_core.inverters.generators import Generator, LightGenerator
from interpdisc_core.metadata.expressions import check_expression
from interpdisc_core.representations import EfficientNetLite0, Representation, digest_features
from interpdisc_core.settings import parse_settings, settings

_Count = Annotated[int, Field(ge=1)]
_Weight = Annotated[float, Field(ge=0, lt=float("inf"))]


@settings
class Recipe:
    """How an inverter is trained; the same recipe on the same images gives the same weights.

    Attributes:
        representation: The features that are inverted.
        generator: The network that is trained.
        where: Images to train on, an expression (see `interpdisc_core.metadata.expressions`); empty: all.
        validation: Share of the images that is used for the score after each epoch and for early stopping, chosen by
            content.
        views: Examples of each image: 1 the image, 2 also its mirror image.
        images: At most this many images are used, drawn by `seed`.
        seed: Of everything random.
        epoch: Examples from one validation to the next.
        batch: Examples of a step of Adam.
        rate: Learning rate of Adam.
        image: Weight of the image loss, which is 1 for an inverter that always shows the mean image.
        feature: Weight of the feature loss, which is 1 for the same inverter.
        feature_from: The first epoch with the feature loss; shapes and colors are learned without it.
        share: Share of a batch that is encoded for the feature loss, which costs several times the generator.
        adversarial: Weight of a discriminator's loss; 0: no discriminator.
        patience: Epochs without a better validation score until the rate is halved; at the fourth halving, training
            stops.
        start: A checkpoint of the same representation and generator from whose weights training starts; empty: random
            weights.
        precision: Of the networks' arithmetic; auto: bfloat16 if the machine computes with it.

    Raises:
        PlanError: If a value is outside of its range, or `where` is no expression.
    """

    representation: Representation = field(default_factory=lambda: EfficientNetLite0(output="grid"))
    generator: Generator = field(default_factory=lambda: LightGenerator(cells=4))
    where: str = ""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.03
    views: Literal[1, 2] = 2
    images: _Count = 200_000
    seed: Annotated[int, Field(ge=0)] = 0
    epoch: _Count = 8192
    batch: _Count = 16
    rate: Annotated[float, Field(gt=0, lt=1)] = 4e-4
    image: _Weight = 1.0
    feature: _Weight = 0.25
    feature_from: _Count = 8
    share: Annotated[float, Field(ge=0, le=1)] = 0.25
    adversarial: _Weight = 0.0
    patience: _Count = 4
    start: str = ""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        check_expression(self.where)

    @property
    def features_digest(self) -> str:
        """The digest of the representation's features; see `interpdisc_core.representations.digest_features`."""
        return digest_features(self.representation)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change exactly when the recipe does; for `start` the file's content counts."""
        start_content = checkpoint.digest_checkpoint(self.start) if self.start else ""
        return digest.digest_json(
            [digest.digest_settings(replace(self, start="")), self.features_digest, start_content]
        )


_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Recipe)


def parse_recipe(value: Any, context: str = "recipe") -> Recipe:
    """A recipe from its JSON value.

    Args:
        value: What `json.loads` returned.
        context: Where it comes from, for the error's sentence.

    Raises:
        PlanError: If it is not a recipe; the sentence names the field.
    """
    return parse_settings(_ADAPTER, value, context)


def read_recipe(path: str) -> Recipe:
    """A recipe from a JSON file.

    Raises:
        PlanError: If the file cannot be read, or is not a recipe.
    """
    return parse_recipe(plan.read_json_file(path), path)


def grid_cells_per_side(representation: Any) -> int:
    """Cells a side of a representation whose vectors are a grid of positions; 1 for any other."""
    return int(representation.grid) if getattr(representation, "output", "") == "grid" else 1
