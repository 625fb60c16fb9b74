"""Looking a few inputs up in a catalog of any size: only the columns that are needed, and only the rows asked for."""

from collections.abc import Collection
from dataclasses import dataclass

from interpdisc_core.catalog import finals
from interpdisc_core.storage import Place

_COLUMNS = ["key", "id", "uri", "sha256", "status"]


@dataclass(frozen=True, slots=True)
class Found:
    """One input by its latest event."""

    key: str
    id: str
    uri: str
    sha256: str
    status: str


def find(archive: Place, ids: Collection[str] = (), keys: Collection[str] = ()) -> dict[str, Found]:
    """The latest event of every input that has one of the ids or one of the keys, by key.

    Raises StoreError where a part of the catalog is damaged.
    """
    found: dict[str, Found] = {}
    for column, values in (("id", _storable(ids)), ("key", _storable(keys))):
        if values:
            for _, table in finals(archive, _COLUMNS, column, values):
                found |= {row["key"]: Found(**row) for row in table.select(_COLUMNS).to_pylist()}
    return found


def _storable(names: Collection[str]) -> set[str]:
    """Those that a catalog can hold at all: without lone surrogates."""
    return {name for name in names if not any("\ud800" <= c <= "\udfff" for c in name)}
