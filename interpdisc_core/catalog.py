"""The catalog: an append-only log of what happened to every input, in immutable Parquet parts.

An event is a whole snapshot of one input; the latest counts. So at any moment the inputs seen are the sum over the
statuses. Parts are ordered by name: `<turn>-<what>.parquet`, where a turn is one step of one run; parts of one turn
are written side by side and speak of different inputs. How parts lie and are read: `interpdisc_core.parts`.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa

from interpdisc_core import digest
from interpdisc_core.parts import SCHEMA, finals, latest, next_turn, parquet, table_of
from interpdisc_core.sources import Listed
from interpdisc_core.storage import Place

__all__ = [
    "SCHEMA", "STATUSES", "Entry", "counts", "finals", "find", "key_of", "latest", "load", "next_turn", "parquet",
    "table_of", "write_part",
]  # fmt: skip

_SLICE = 10_000

STATUSES = ("pending", "ready", "duplicate-of", "superseded-by", "quarantined", "skipped")


@dataclass(frozen=True, slots=True)
class Entry:
    """One input. key: names address and version (size, stamp) together, 16 hexadecimal digits.

    why: the reason of `quarantined` and `skipped`, the other input's key of `duplicate-of` and `superseded-by`.
    access: a quarantine that another try may lift; kept while it is pending again for that try. sha256, format, width, height, mode: facts, once it was read.
    batch, row: its place among the features, once it is ready; -1 before. record: the source's own, verbatim JSON.
    header: what the file itself says, JSON; radiometry: what its values mean, by name; both once it was read.
    """

    key: str
    id: str
    uri: str
    size: int
    stamp: str
    status: str = "pending"
    why: str = ""
    access: bool = False
    sha256: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    batch: int = -1
    row: int = -1
    record: str = "{}"
    header: str = "{}"
    radiometry: str = ""
    at: str = field(default="", compare=False)

    @classmethod
    def of(cls, item: Listed) -> "Entry":
        """The first event of a listed input: pending, or skipped with its reason."""
        return cls(
            key=key_of(item), id=item.id, uri=item.uri, size=item.size, stamp=item.stamp,
            status="skipped" if item.skipped else "pending", why=item.skipped,
            record=json.dumps(item.record, ensure_ascii=True, sort_keys=True),
        )  # fmt: skip

    def now(self, status: str, why: str = "", **facts: object) -> "Entry":
        """The next event of this input."""
        if status not in STATUSES:
            raise ValueError(f"{status!r} is not a status; there are {', '.join(STATUSES)}")
        return replace(self, status=status, why=why, **facts)  # type: ignore[arg-type]


def key_of(item: Listed) -> str:
    """The key of a listed input: the same file, untouched, has the same key."""
    return digest.of_bytes(f"{item.uri}\0{item.size}\0{item.stamp}\0{bool(item.skipped)}".encode())[:16]


def write_part(archive: Place, turn: int, what: str, entries: Iterable[Entry]) -> str:
    """Append events as one part; returns its name. The same turn and `what` replace each other."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    table = pa.Table.from_pylist([{**asdict(entry), "at": at} for entry in entries], schema=SCHEMA)
    name = f"{turn:08d}-{what}.parquet"
    archive.write(f"catalog/{name}", parquet(table))
    return name


def load(archive: Place) -> dict[str, Entry]:
    """The latest event of every input, by key, in order of first appearance. For a million inputs see `latest`."""
    return {entry.key: entry for entry in _entries(archive)}


def find(archive: Place, column: str, values: Collection[str]) -> list[Entry]:
    """The latest event of every input whose `column` is one of `values`, in order of first appearance."""
    return _entries(archive, column, values)


def _entries(archive: Place, column: str = "", values: Collection[str] = ()) -> list[Entry]:
    placed: list[tuple[int, Entry]] = []
    for final, table in finals(archive, SCHEMA.names, column, values):
        entries = (
            Entry(**row) for start in range(0, len(table), _SLICE) for row in table.slice(start, _SLICE).to_pylist()
        )
        placed += zip(final.places.tolist(), entries, strict=True)
    return [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]


def counts(entries: Iterable[Entry]) -> dict[str, int]:
    """How many inputs have each status; the sum is the number of inputs seen."""
    counted = Counter(entry.status for entry in entries)
    return {status: counted[status] for status in STATUSES}
