"""The catalog: an append-only log of what happened to every input, in immutable Parquet parts.

An event is a whole snapshot of one input; the latest counts. So at any moment the inputs seen are the sum over the
statuses. Parts are ordered by name: `<turn>-<what>.parquet`, where a turn is one step of one run; parts of one turn
are written side by side and speak of different inputs.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from interpdisc_core import digest
from interpdisc_core.errors import StoreError
from interpdisc_core.sources import Listed
from interpdisc_core.storage import Place

STATUSES = ("pending", "ready", "duplicate-of", "superseded-by", "quarantined", "skipped")


@dataclass(frozen=True, slots=True)
class Entry:
    """One input. key: names address and version (size, stamp) together, 16 hexadecimal digits.

    why: the reason of `quarantined` and `skipped`, the other input's key of `duplicate-of` and `superseded-by`.
    access: a quarantine that another try may lift; kept while it is pending again for that try. sha256, format, width, height, mode: facts, once it was read.
    batch, row: its place among the features, once it is ready; -1 before. record: the source's own, verbatim JSON.
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


SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "id", "uri")), ("size", pa.int64()),
        *((name, pa.string()) for name in ("stamp", "status", "why")), ("access", pa.bool_()),
        *((name, pa.string()) for name in ("sha256", "format")),
        ("width", pa.int32()), ("height", pa.int32()), ("mode", pa.string()), ("batch", pa.int32()),
        ("row", pa.int64()), ("record", pa.string()), ("at", pa.string()),
    ]
)  # fmt: skip


def write_part(archive: Place, turn: int, what: str, entries: Iterable[Entry]) -> str:
    """Append events as one part; returns its name. The same turn and `what` replace each other."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    table = pa.Table.from_pylist([{**asdict(entry), "at": at} for entry in entries], schema=SCHEMA)
    name = f"{turn:08d}-{what}.parquet"
    archive.write(f"catalog/{name}", parquet(table))
    return name


def parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def table_of(archive: Place, name: str) -> pa.Table:
    """Read one Parquet table. Raises StoreError where it is damaged."""
    try:
        # Without Arrow's thread pools: reading a buffer with them sometimes aborts a busy machine's process at its exit.
        return pq.read_table(io.BytesIO(archive.read(name)), use_threads=False, pre_buffer=False)
    except pa.ArrowException as error:
        raise StoreError(f"{archive.url}/{name} is damaged: {error}.") from error


def load(archive: Place) -> dict[str, Entry]:
    """The latest event of every input, by key, in order of first appearance."""
    latest: dict[str, Entry] = {}
    for name in archive.names("catalog"):
        for row in table_of(archive, f"catalog/{name}").to_pylist():
            latest[row["key"]] = Entry(**row)
    return latest


def next_turn(archive: Place) -> int:
    """The number of the next turn."""
    names = archive.names("catalog")
    return int(names[-1].partition("-")[0]) + 1 if names else 0


def counts(entries: Iterable[Entry]) -> dict[str, int]:
    """How many inputs have each status; the sum is the number of inputs seen."""
    counted = Counter(entry.status for entry in entries)
    return {status: counted[status] for status in STATUSES}
