"""Compaction of a catalog: one part in the place of many. How they lie: `interpdisc_core.parts`."""

import io
import json
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from interpdisc_core.parts import (
    COMPACT,
    FOLDER,
    GROUP,
    HISTORY,
    NAMES,
    SCHEMA,
    Final,
    events,
    final_rows,
    names,
    next_turn,
    stands_for,
    stored,
    taken,
)  # fmt: skip
from interpdisc_core.storage import Place

MANY = 256
"""Parts beyond which a catalog is worth compacting: listing and reading them is what makes a large archive slow."""
_SPAN = 250_000
"""Inputs that are held in memory at a time."""


def compact(archive: Place, beyond: int = MANY) -> bool:
    """Where a catalog has more than `beyond` parts, put one in their place; True where that was done.

    `latest` is the same before, after, and wherever this is killed. Who calls it holds the archive.
    """
    counting = names(archive)
    # What an earlier call was killed before it removed goes first, or it would never.
    _remove(archive, set(stored(archive)) - set(counting))
    if len(counting) <= beyond:
        return False
    turn = next_turn(archive)
    earlier = {name for name in counting if name.endswith(COMPACT)}
    _abandoned(archive, turn, earlier)
    log = (events(archive, name, SCHEMA.names) for name in counting if name not in earlier)
    archive.write(f"{HISTORY}/{turn:08d}.parquet", _streamed(log))
    gone = sorted({*counting, *(name for compacted in earlier for name in stands_for(archive, compacted))})
    archive.write(f"{FOLDER}/{turn:08d}{COMPACT}", _streamed(_latest(archive), {NAMES: zlib.compress(_json(gone))}))
    _remove(archive, set(counting))
    return True


def _latest(archive: Place) -> Iterator[pa.Table]:
    """As `parts.latest`, a span of inputs at a time. Parts are in about the order of their inputs, so few are read twice."""
    plan = final_rows(archive)
    total = sum(len(final.rows) for final in plan)
    for start in range(0, total, _SPAN):
        found, places = [], []
        for final in plan:
            mine = _within(final, start, start + _SPAN)
            if mine.any():
                wanted = Final(final.name, final.rows[mine], final.places[mine])
                for some, table in taken(archive, wanted, SCHEMA.names):
                    found.append(table)
                    places.append(some.places)
        yield pa.concat_tables(found).take(pa.array(np.argsort(np.concatenate(places))))


def _within(final: Final, start: int, stop: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return (final.places >= start) & (final.places < stop)


def _streamed(tables: Iterable[pa.Table], metadata: dict[bytes, bytes] | None = None) -> bytes:
    """Tables of the catalog's columns, one after another, as the bytes of one Parquet file."""
    sink = io.BytesIO()
    schema = SCHEMA.with_metadata(metadata)
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for table in tables:
            for start in range(0, len(table), GROUP):
                writer.write_table(table.slice(start, GROUP).cast(SCHEMA).replace_schema_metadata(metadata))
    return sink.getvalue()


def _abandoned(archive: Place, turn: int, earlier: set[str]) -> None:
    """Remove the history that a call wrote which was then killed: its events are in that of this turn."""
    last = max((int(name.partition("-")[0]) for name in earlier), default=-1)
    for name in archive.names(HISTORY):
        if last < int(name.partition(".")[0]) < turn:
            archive.remove(f"{HISTORY}/{name}")


def _remove(archive: Place, gone: Iterable[str]) -> None:
    for name in sorted(gone):
        archive.remove(f"{FOLDER}/{name}")


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
