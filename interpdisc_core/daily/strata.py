"""What is compared with what: each stratum of a day's science images has a memory and a list of its own."""

import re
from collections.abc import Mapping, Sequence

from interpdisc_core.daily.calendar import Item
from interpdisc_core.daily.settings import Daily
from interpdisc_core.subset import matching

ALL = "all"
"""The stratum of every image. Those of other radiometry are in it after the transform that their pages state."""
_FIELD = re.compile(r"[^\W\d]\w*")


def strata(settings: Daily, items: Sequence[Item]) -> dict[str, list[Item]]:
    """The strata of a day's images, by name: `all` first, then those of the settings in order. None is empty.

    A stratum of a field's value is `instrument=MAST_LEFT`; of an expression, the expression. Where strata are kept apart
    by radiometry, that follows in brackets. Raises PlanError for an expression that cannot be read.
    """
    if not items:
        return {}
    columns = [item.columns() for item in items]
    found: dict[str, list[Item]] = {ALL: list(items)}
    for given in settings.strata:
        for item, name in zip(items, _names(given, columns), strict=True):
            if name is not None:
                kind = f" [{item.entry.radiometry or 'unknown'}]" if settings.apart else ""
                found.setdefault(name + kind, []).append(item)
    return {ALL: found.pop(ALL), **dict(sorted(found.items()))}


def _names(given: str, columns: Sequence[Mapping[str, object]]) -> list[str | None]:
    """For each image the stratum that `given` puts it into, or None."""
    if _FIELD.fullmatch(given):
        values = [fields.get(given) for fields in columns]
        return [None if value in (None, "") else f"{given}={value}" for value in values]
    fields = sorted({name for one in columns for name in one})
    table = {name: [one.get(name) for one in columns] for name in fields}
    return [given if holds else None for holds in matching(given, table)]


def memory_of(settings: Daily, stratum: str) -> str:
    """The name under which the archive's memory keeps a stratum. Records made in another way are others."""
    return kept_as(stratum, settings.remembers)


def kept_as(stratum: str, remembers: str) -> str:
    """The same, of records made by the settings that `Daily.remembers` names so."""
    return f"{stratum} @{remembers}"
