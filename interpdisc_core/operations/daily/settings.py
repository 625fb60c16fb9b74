"""Settings of a daily run: a JSON file for `interpdisc daily --settings`."""

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, TypeAdapter

from interpdisc_core import digest
from interpdisc_core.errors import PlanError
from interpdisc_core.images.artefacts import ARTEFACT_RULES, check_rules
from interpdisc_core.plan import Plan, read_json_file
from interpdisc_core.selectors import Demud
from interpdisc_core.settings import parse_settings, settings
from interpdisc_core.sources import Source

HorizonKind = Literal["sols", "site", "mission"]
_FIELD_NAME = re.compile(r"[^\W\d]\w*")


def _default_plan() -> Plan:
    return Plan(picks=25, explain=25)


@settings
class Daily:
    """What a daily run reads, compares and picks.

    Files of version 0.1.0 may call `split_by_radiometry`, `stratum_picks` and `horizon_sols` by the names they had
    then: `apart`, `listed` and `sols`.

    Attributes:
        source: Where images come from.
        plan: Representation, number of picks and rendering of the day's list. Its selector must be DEMUD.
        strata: Groups of images that each get a memory and a list of their own: the name of a field, for one group
            per value (`instrument`), or an expression as in `interpdisc select --where`.
        split_by_radiometry: Whether images of different radiometry are in different strata.
        stratum_picks: Number of picks of a stratum's list.
        horizon: Which earlier days count as seen: the last `horizon_sols` ones, those at the same site, or all of the
            mission. Only days with images count, and only once they are committed.
        horizon_sols: Number of days of the horizon `sols`.
        budget: Maximum number of picks of the day's list by instrument; `*` is any that is not named.
        artefacts: Rules by name, as expressions. Images for which one is true are listed as artefacts, apart from the
            picks.
        tiles: Whether frames much larger than the network's input are also read tile by tile.
        most_days: If more days are new (a first run on an old feed), only the last `most_days` get a list. All of them
            are remembered.

    Raises:
        PlanError: If the selector is not DEMUD, a number is out of range, or a rule or a stratum is no expression.
    """

    source: Source
    plan: Plan = field(default_factory=_default_plan)
    strata: tuple[str, ...] = ("instrument",)
    split_by_radiometry: Annotated[bool, Field(validation_alias=AliasChoices("split_by_radiometry", "apart"))] = True
    stratum_picks: Annotated[int, Field(ge=1, validation_alias=AliasChoices("stratum_picks", "listed"))] = 10
    horizon: HorizonKind = "sols"
    horizon_sols: Annotated[int, Field(ge=1, validation_alias=AliasChoices("horizon_sols", "sols"))] = 30
    budget: Mapping[str, int] = field(default_factory=dict)
    artefacts: Mapping[str, str] = field(default_factory=lambda: dict(ARTEFACT_RULES))
    tiles: bool = True
    most_days: Annotated[int, Field(ge=1)] = 7

    def __post_init__(self) -> None:
        if not isinstance(self.plan.selector, Demud):
            raise PlanError(f"daily: the selector must be DEMUD (kind demud), not {self.plan.selector.kind}.")
        for name, limit in self.budget.items():
            if limit < 0:
                raise PlanError(f"daily: the budget of {name!r} must be at least 0, not {limit}.")
        for where, rules in (
            ("artefacts", self.artefacts),
            ("strata", {stratum: stratum for stratum in self.strata if not is_field_name(stratum)}),
        ):
            try:
                check_rules(rules)
            except PlanError as error:
                raise PlanError(f"daily: {where}: {error}") from error

    @property
    def selector(self) -> Demud:
        """The plan's selector."""
        assert isinstance(self.plan.selector, Demud)
        return self.plan.selector

    @property
    def memory_digest(self) -> str:
        """Twelve hexadecimal digits that name how memory records are made: other digits, other records."""
        return digest.digest_json(
            [
                self.plan.features_digest,
                self.plan.normalise,
                list(self.strata),
                self.split_by_radiometry,
                dict(self.artefacts),
                self.tiles,
            ]
        )


def is_field_name(stratum: str) -> bool:
    """Whether a stratum of the settings names a field, rather than being an expression."""
    return _FIELD_NAME.fullmatch(stratum) is not None


_ADAPTER: TypeAdapter[Daily] = TypeAdapter(Daily)


def parse_daily(value: Any, context: str = "daily") -> Daily:
    """Settings from their JSON value.

    Raises:
        PlanError: If they are not valid; the message begins with `context` and names the field.

    Example:
        >>> parse_daily({"source": {"kind": "folder", "path": "images"}, "horizon_sols": 10}).horizon_sols
        10
    """
    return parse_settings(_ADAPTER, value, context)


def read_daily(path: str) -> Daily:
    """Settings from a JSON file.

    Raises:
        PlanError: If the file cannot be read or its content is not valid.
    """
    return parse_daily(read_json_file(path), path)


def dump_daily(settings: Daily) -> Any:
    """The settings as a JSON value that `parse_daily` reads back to equal ones."""
    return _ADAPTER.dump_python(settings, mode="json")
