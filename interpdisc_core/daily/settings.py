"""What a daily run is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter

from interpdisc_core import digest
from interpdisc_core.artefacts import RULES
from interpdisc_core.errors import PlanError
from interpdisc_core.plan import Plan, json_at, validated
from interpdisc_core.selectors import Demud
from interpdisc_core.sources import Source

Horizon = Literal["sols", "site", "mission"]


def _plan() -> Plan:
    return Plan(picks=25, explain=25)


@dataclass(frozen=True, kw_only=True)
class Daily:
    """source: where images come from. plan: of the day's list: representation, picks, rendering; its selector is DEMUD.

    strata: each gets a memory and a list of its own: the name of a field, which makes a stratum of each of its values
    (`instrument`), or an expression as in `interpdisc select --where`. apart: images of different radiometry are
    different strata too. listed: picks of a stratum's list.
    horizon: days that count as seen: the last `sols` ones, those at the same site, or the whole mission. Days that have
    images; a day counts once it is committed.
    budget: most picks of the day's list by instrument; `*` is any that is not named.
    artefacts: rules by name, as expressions: images for which one holds are in the artefact lane.
    tiles: frames that are much larger than the network's input are looked at tile by tile.
    most_days: with more days to do than that (a first run on an old feed), only the last get a list; all are remembered.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    source: Source
    plan: Plan = field(default_factory=_plan)
    strata: tuple[str, ...] = ("instrument",)
    apart: bool = True
    listed: int = 10
    horizon: Horizon = "sols"
    sols: int = 30
    budget: Mapping[str, int] = field(default_factory=dict)
    artefacts: Mapping[str, str] = field(default_factory=lambda: dict(RULES))
    tiles: bool = True
    most_days: int = 7

    def __post_init__(self) -> None:
        if not isinstance(self.plan.selector, Demud):
            raise PlanError(f"daily: the selector is DEMUD (kind demud), not {self.plan.selector.kind}.")
        for name in ("sols", "listed", "most_days"):
            if getattr(self, name) < 1:
                raise PlanError(f"daily: {name} must be at least 1, not {getattr(self, name)}.")
        if wrong := [name for name, most in self.budget.items() if most < 0]:
            raise PlanError(f"daily: the budget of {wrong[0]!r} must be 0 or more, not {self.budget[wrong[0]]}.")

    @property
    def selector(self) -> Demud:
        """The plan's selector."""
        assert isinstance(self.plan.selector, Demud)
        return self.plan.selector

    @property
    def remembers(self) -> str:
        """Twelve hexadecimal digits that name what a memory record is made by: they change when records must."""
        return digest.of_json(
            [self.plan.features, self.plan.normalise, list(self.strata), self.apart, dict(self.artefacts), self.tiles]
        )


_ADAPTER: TypeAdapter[Daily] = TypeAdapter(Daily)


def parse(value: Any, where: str = "daily") -> Daily:
    """Settings from their JSON value. Raises PlanError with a sentence that names the field."""
    return validated(_ADAPTER, value, where)


def read(path: str) -> Daily:
    """Settings from a JSON file. Raises PlanError where there is none or it is not one."""
    return parse(json_at(path), path)


def to_json(settings: Daily) -> Any:
    """The settings as a JSON value that `parse` reads back to equal ones."""
    return _ADAPTER.dump_python(settings, mode="json")
