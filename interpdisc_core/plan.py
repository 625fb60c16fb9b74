"""The plan: everything that defines what a run computes, as one frozen value.

Where and with what it runs (archive, workers, block size) is not part of it: two runs with the same plan and inputs
make the same picks.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import TypeAdapter, ValidationError

from interpdisc_core import digest
from interpdisc_core.errors import PlanError
from interpdisc_core.inverters import Gradient, Inverter, Refined
from interpdisc_core.inverters.checkpoint import found_for
from interpdisc_core.representations import EfficientNetLite0, Normalisation, Representation, features_of
from interpdisc_core.selectors import Demud, Selector

_Settings = TypeVar("_Settings")


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """How picks are rendered. inverter: features to pictures. picks: how many of the first."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    inverter: Inverter
    picks: int

    def __post_init__(self) -> None:
        if self.picks < 0:
            raise PlanError(f"plan: explain must be 0 or more, not {self.picks}.")

    def name(self, representation: Any) -> str:
        """Twelve hexadecimal digits that name the inverter, its settings and its weights."""
        try:
            weights = self.inverter.identity(representation)
        except PlanError:  # there are none; loading it will say so
            weights = ""
        return digest.of_json([digest.of_settings(self.inverter), weights])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """representation: images to features. normalise: `l2` divides each row by its length, `none` leaves it.

    selector: the next most novel row. picks: how many are made (fewer where nothing is new any more).
    explain: how many of the first are rendered by the inverter. inverter: features to pictures; None for `refined`
    where a network for the representation ships, else `gradient`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    representation: Representation = field(default_factory=EfficientNetLite0)
    normalise: Normalisation = "none"
    selector: Selector = field(default_factory=Demud)
    picks: int = 50
    inverter: Inverter | None = None
    explain: int = 12

    def __post_init__(self) -> None:
        if self.picks < 1:
            raise PlanError(f"plan: picks (-n) must be at least 1, not {self.picks}.")
        if self.explain < 0:
            raise PlanError(f"plan: explain must be 0 or more, not {self.explain}.")

    @property
    def rendering(self) -> Rendering:
        """How its picks are rendered."""
        ships = self.inverter is None and found_for(self.representation)
        return Rendering(inverter=self.inverter or (Refined() if ships else Gradient()), picks=self.explain)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change exactly when the plan does."""
        return digest.of_settings(self)

    @property
    def features(self) -> str:
        """The digest that names the representation's features in an archive; see `features_of`."""
        return features_of(self.representation)


_ADAPTER: TypeAdapter[Plan] = TypeAdapter(Plan)


def parse(value: Any, where: str = "plan") -> Plan:
    """A plan from its JSON value. Raises PlanError with a sentence that names the field."""
    return validated(_ADAPTER, value, where)


def validated(adapter: TypeAdapter[_Settings], value: Any, where: str) -> _Settings:
    """Settings from their JSON value. Raises PlanError with a sentence that names the field."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise PlanError(f"{where}: {at}: {first['msg']} (given: {first.get('input')!r}).") from error


_RENDERING: TypeAdapter[Rendering] = TypeAdapter(Rendering)


def rendering_of(value: Any, where: str) -> Rendering:
    """A rendering from its JSON value. Raises PlanError with a sentence that names the field."""
    return validated(_RENDERING, value, where)


def read(path: str) -> Plan:
    """A plan from a JSON file. Raises PlanError where there is none or it is not one."""
    return parse(json_at(path), path)


def json_at(path: str) -> Any:
    """The value in a JSON file. Raises PlanError where there is none."""
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise PlanError(f"{path}: not JSON: {error}.") from error


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as a JSON value that `parse` reads back to an equal plan."""
    return asdict(plan)
