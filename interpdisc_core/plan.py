"""The plan: everything that defines what a run computes, as one frozen value.

Where and how it runs (archive, workers, block size) is not part of it: two runs with the same plan and the same inputs
make the same picks.
"""

import json
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from interpdisc_core import digest
from interpdisc_core.errors import PlanError
from interpdisc_core.inverters import Gradient, Inverter, Refined
from interpdisc_core.inverters.checkpoint import find_shipped_checkpoint
from interpdisc_core.representations import EfficientNetLite0, Normalization, Representation, digest_features
from interpdisc_core.selectors import Demud, Selector
from interpdisc_core.settings import parse_settings, settings


@settings
class RenderingOptions:
    """How picks are rendered.

    Attributes:
        inverter: Turns features into pictures.
        picks: Number of picks that are rendered, the first ones.
    """

    inverter: Inverter
    picks: Annotated[int, Field(ge=0)]

    def compute_digest(self, representation: Any) -> str:
        """Twelve hexadecimal digits of the inverter's settings and weights. They name explanations in a run."""
        try:
            weights = self.inverter.digest_weights(representation)
        except PlanError:  # the weights are missing; loading them will report that
            weights = ""
        return digest.digest_json([digest.digest_settings(self.inverter), weights])


@settings
class Plan:
    """What a run computes.

    Attributes:
        representation: Turns images into features.
        normalise: `l2` divides each row of features by its length; `none` leaves it.
        selector: Picks the next most novel row.
        picks: Number of picks; a run makes fewer if nothing is novel any more.
        inverter: Turns features into pictures. None: `refined` if a network for the representation is in the package,
            else `gradient`.
        explain: Number of picks that the inverter renders, the first ones.

    Example:
        >>> Plan(picks=20).selector.kind
        'demud'
    """

    representation: Representation = field(default_factory=EfficientNetLite0)
    normalise: Normalization = "none"
    selector: Selector = field(default_factory=Demud)
    picks: Annotated[int, Field(ge=1)] = 50
    inverter: Inverter | None = None
    explain: Annotated[int, Field(ge=0)] = 12

    @property
    def rendering(self) -> RenderingOptions:
        """How its picks are rendered."""
        has_shipped_network = self.inverter is None and find_shipped_checkpoint(self.representation)
        return RenderingOptions(
            inverter=self.inverter or (Refined() if has_shipped_network else Gradient()), picks=self.explain
        )

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change exactly if a setting changes."""
        return digest.digest_settings(self)

    @property
    def features_digest(self) -> str:
        """Names the representation's features in an archive; see `interpdisc_core.representations.digest_features`."""
        return digest_features(self.representation)


_PLAN_ADAPTER: TypeAdapter[Plan] = TypeAdapter(Plan)
_RENDERING_ADAPTER: TypeAdapter[RenderingOptions] = TypeAdapter(RenderingOptions)


def parse_plan(value: Any, context: str = "plan") -> Plan:
    """A plan from its JSON value.

    Raises:
        PlanError: If it is not a plan; names the field.

    Example:
        >>> parse_plan({"selector": {"kind": "demud", "rank": 20}}).picks
        50
    """
    return parse_settings(_PLAN_ADAPTER, value, context)


def parse_rendering(value: Any, context: str) -> RenderingOptions:
    """Rendering options from their JSON value.

    Raises:
        PlanError: If the value is not valid; names the field.
    """
    return parse_settings(_RENDERING_ADAPTER, value, context)


def read_plan(path: str) -> Plan:
    """A plan from a JSON file.

    Raises:
        PlanError: If there is no such file, or if it does not hold a plan.
    """
    return parse_plan(read_json_file(path), path)


def read_json_file(path: str) -> Any:
    """The value in a local JSON file.

    Raises:
        PlanError: If there is no such file, or if it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise PlanError(f"{path}: not JSON: {error}.") from error


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as a JSON value that `parse_plan` reads back to an equal plan."""
    return asdict(plan)
