"""Compaction of a catalog: one part replaces many. For the parts see `interpdisc_core.archive.catalog_parts`."""

import io
import json
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from interpdisc_core.archive.catalog_parts import (
    CATALOG_FOLDER,
    CATALOG_SCHEMA,
    COMPACT_SUFFIX,
    HISTORY_FOLDER,
    REPLACED_PARTS_KEY,
    LatestRows,
    find_latest_rows,
    list_active_parts,
    list_parts,
    next_sequence,
    read_events,
    read_rows,
    replaced_parts,
)
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import ROW_GROUP_ROWS

MAX_PARTS = 256
"""Number of parts beyond which a catalog is compacted: listing and reading many parts is slow."""
_INPUTS_PER_CHUNK = 250_000
"""Inputs in memory at a time."""


def compact_catalog(archive: Location, max_parts: int = MAX_PARTS) -> bool:
    """Replace the parts of a catalog by one if there are more than `max_parts`. The caller holds the archive's lock.

    `read_latest` gives the same result before, after, and if this is killed at any point.

    Returns:
        Whether the catalog was compacted.
    """
    active_parts = list_active_parts(archive)
    # Parts that an earlier call replaced and did not remove because it was killed.
    _remove_parts(archive, set(list_parts(archive)) - set(active_parts))
    if len(active_parts) <= max_parts:
        return False
    sequence = next_sequence(archive)
    previous_compact_parts = {name for name in active_parts if name.endswith(COMPACT_SUFFIX)}
    _remove_abandoned_history(archive, sequence, previous_compact_parts)
    event_tables = (
        read_events(archive, name, CATALOG_SCHEMA.names) for name in active_parts if name not in previous_compact_parts
    )
    archive.write_checked(f"{HISTORY_FOLDER}/{sequence:08d}.parquet", _encode_tables(event_tables))
    obsolete_parts = sorted(
        {*active_parts, *(name for part in previous_compact_parts for name in replaced_parts(archive, part))}
    )
    archive.write_checked(
        f"{CATALOG_FOLDER}/{sequence:08d}{COMPACT_SUFFIX}",
        _encode_tables(_iter_latest_chunks(archive), {REPLACED_PARTS_KEY: zlib.compress(_encode_json(obsolete_parts))}),
    )
    _remove_parts(archive, set(active_parts))
    return True


def _iter_latest_chunks(archive: Location) -> Iterator[pa.Table]:
    """As `read_latest`, in chunks of inputs. Parts have about the order of their inputs, so few are read twice."""
    latest_rows = find_latest_rows(archive)
    total = sum(len(part_rows.rows) for part_rows in latest_rows)
    for start in range(0, total, _INPUTS_PER_CHUNK):
        tables, positions = [], []
        for part_rows in latest_rows:
            in_chunk = _is_within(part_rows, start, start + _INPUTS_PER_CHUNK)
            if in_chunk.any():
                chunk_rows = LatestRows(part_rows.part, part_rows.rows[in_chunk], part_rows.positions[in_chunk])
                for rows, table in read_rows(archive, chunk_rows, CATALOG_SCHEMA.names):
                    tables.append(table)
                    positions.append(rows.positions)
        yield pa.concat_tables(tables).take(pa.array(np.argsort(np.concatenate(positions))))


def _is_within(final: LatestRows, start: int, stop: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return (final.positions >= start) & (final.positions < stop)


def _encode_tables(tables: Iterable[pa.Table], metadata: dict[bytes, bytes] | None = None) -> bytes:
    """Tables with the catalog's columns as one Parquet file."""
    sink = io.BytesIO()
    schema = CATALOG_SCHEMA.with_metadata(metadata)
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for table in tables:
            for start in range(0, len(table), ROW_GROUP_ROWS):
                writer.write_table(
                    table.slice(start, ROW_GROUP_ROWS).cast(CATALOG_SCHEMA).replace_schema_metadata(metadata)
                )
    return sink.getvalue()


def _remove_abandoned_history(archive: Location, sequence: int, previous_compact_parts: set[str]) -> None:
    """Remove the history that a killed call wrote: the new history contains its events."""
    last = max((int(name.partition("-")[0]) for name in previous_compact_parts), default=-1)
    for name in archive.list_names(HISTORY_FOLDER):
        if last < int(name.partition(".")[0]) < sequence:
            archive.remove(f"{HISTORY_FOLDER}/{name}")


def _remove_parts(archive: Location, part_names: Iterable[str]) -> None:
    for name in sorted(part_names):
        archive.remove(f"{CATALOG_FOLDER}/{name}")


def _encode_json(value: object) -> bytes:
    return json.dumps(value).encode()
