"""The plan: everything that defines what a run computes, as one frozen value.

Where and with what it runs (archive, workers, block size) is not part of it: two runs with the same plan and inputs
make the same picks.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from interpdisc_core import digest
from interpdisc_core.errors import PlanError
from interpdisc_core.inverters import Gradient, Inverter
from interpdisc_core.representations import EfficientNetLite0, Normalisation, Representation
from interpdisc_core.selectors import Demud, Selector


@dataclass(frozen=True, kw_only=True)
class Plan:
    """representation: images to features. normalise: `l2` divides each row by its length, `none` leaves it.

    selector: the next most novel row. picks: how many are made (fewer where nothing is new any more).
    explain: how many of the first are rendered by the inverter. inverter: features to pictures.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    representation: Representation = field(default_factory=EfficientNetLite0)
    normalise: Normalisation = "none"
    selector: Selector = field(default_factory=Demud)
    picks: int = 50
    inverter: Inverter = field(default_factory=Gradient)
    explain: int = 12

    def __post_init__(self) -> None:
        if self.picks < 1:
            raise PlanError(f"plan: picks (-n) must be at least 1, not {self.picks}.")
        if self.explain < 0:
            raise PlanError(f"plan: explain must be 0 or more, not {self.explain}.")

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change exactly when the plan does."""
        return digest.of_settings(self)

    @property
    def features(self) -> str:
        """The digest that names the representation's features in an archive.

        Weights that are given as a file count by their content, so a changed file is another representation.
        """
        weights = getattr(self.representation, "weights", "")
        content = digest.of_file(weights) if weights and Path(weights).is_file() else ""
        return digest.of_json([digest.of_settings(self.representation), content])


_ADAPTER: TypeAdapter[Plan] = TypeAdapter(Plan)


def parse(value: Any, where: str = "plan") -> Plan:
    """A plan from its JSON value. Raises PlanError with a sentence that names the field."""
    try:
        return _ADAPTER.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise PlanError(f"{where}: {at}: {first['msg']} (given: {first.get('input')!r}).") from error


def read(path: str) -> Plan:
    """A plan from a JSON file. Raises PlanError where there is none or it is not one."""
    try:
        return parse(json.loads(Path(path).read_text("utf-8")), path)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise error if isinstance(error, PlanError) else PlanError(f"{path}: not JSON: {error}.") from error


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as a JSON value that `parse` reads back to an equal plan."""
    return asdict(plan)
