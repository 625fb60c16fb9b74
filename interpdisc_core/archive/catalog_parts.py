"""The parts of a catalog: a log of events in immutable Parquet files that are read by column.

    catalog/<sequence>-<step>.parquet       events; of two events of one input, the one in the later name counts
    catalog/<sequence>-compact.parquet      the latest event of every input in the parts that it replaces; read first
    catalog-history/<sequence>.parquet      all events of the replaced parts, for people

A part that a compact part replaces is not read any more, whether it still exists or a slow worker writes it again. A
part that it does not replace counts after it, whatever its sequence number. So no event is lost if a part is written
during a compaction.
"""

import io
import json
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from interpdisc_core.archive.disk_names import CATALOG_COLUMNS, CATALOG_METADATA
from interpdisc_core.errors import StoreError
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import read_parquet, translate_read_errors

CATALOG_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "id", "uri")),
        ("size", pa.int64()),
        *((name, pa.string()) for name in ("stamp", "status", "reason")),
        ("retryable", pa.bool_()),
        *((name, pa.string()) for name in ("sha256", "format")),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("mode", pa.string()),
        ("batch", pa.int32()),
        ("row", pa.int64()),
        *((name, pa.string()) for name in ("record", "header", "radiometry", "at")),
    ]
)
_READ_TYPES = {field.name: field.type for field in CATALOG_SCHEMA} | {
    "record": pa.large_string(),
    "header": pa.large_string(),
}
"""Types in memory: the records of a large catalog are more than 2 GB of text, which Arrow's `string` cannot hold."""
_DEFAULTS_BEFORE_V2 = {"header": "{}", "radiometry": ""}
"""Values of the columns that layout version 1 does not have."""
CATALOG_FOLDER, HISTORY_FOLDER, COMPACT_SUFFIX, REPLACED_PARTS_KEY = (
    "catalog",
    "catalog-history",
    "-compact.parquet",
    b"replaced_parts",
)
(_OLD_REPLACED_PARTS_KEY,) = (old.encode() for old in CATALOG_METADATA)
_PART_NAME = re.compile(r"\d{8,}-.+\.parquet")
"""Other files in the folder are not of the catalog: `verify` names them."""
_MAX_TRIES = 5


def next_sequence(archive: Location) -> int:
    """The sequence number of the next step that writes parts."""
    part_names = list_parts(archive)
    return int(part_names[-1].partition("-")[0]) + 1 if part_names else 0


def list_active_parts(archive: Location) -> list[str]:
    """The parts that are read, in this order."""
    part_names = list_parts(archive)
    compact_part = next((name for name in reversed(part_names) if name.endswith(COMPACT_SUFFIX)), None)
    if compact_part is None:
        return part_names
    replaced = replaced_parts(archive, compact_part) | {compact_part}
    return [compact_part, *(name for name in part_names if name not in replaced)]


class LatestRows(NamedTuple):
    """The rows of one part that are the latest events of their inputs.

    Attributes:
        part: The part's file name.
        rows: Row numbers in the part (n,), ascending.
        positions: Of each row, the position of its input in the order of first appearance (n,).
    """

    part: str
    rows: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]


def read_latest(archive: Location, columns: Sequence[str] = tuple(CATALOG_SCHEMA.names)) -> pa.Table:
    """The latest event of every input, in order of first appearance.

    It needs memory for the result and its order, not for the whole log.

    Args:
        archive: The archive.
        columns: The columns to read; `key` is always among them.

    Raises:
        StoreError: If a part is damaged.
    """
    selected_columns = [name for name in CATALOG_SCHEMA.names if name == "key" or name in columns]
    tables, positions = [_make_empty_table(selected_columns)], [np.empty(0, dtype=np.int64)]
    for rows, table in iter_latest(archive, selected_columns):
        tables.append(table)
        positions.append(rows.positions)
    combined, order = pa.concat_tables(tables), np.concatenate(positions)
    if np.all(order[1:] > order[:-1]):
        return combined
    return combined.take(pa.array(np.argsort(order)))


def iter_latest(
    archive: Location, columns: Sequence[str], column: str = "", values: Collection[str] = ()
) -> Iterator[tuple[LatestRows, pa.Table]]:
    """The latest event of every input, part by part.

    Args:
        archive: The archive.
        columns: The columns to read.
        column: With `values`: only inputs for which this column is one of the values.
        values: See `column`.

    Raises:
        StoreError: If a part is damaged, or if compactions remove parts again and again while they are read.
    """
    yielded_positions: list[npt.NDArray[np.int64]] = []
    for _ in range(_MAX_TRIES):
        skip_positions = np.concatenate(yielded_positions) if yielded_positions else None
        try:
            for part_rows in find_latest_rows(archive):
                rows, positions = part_rows.rows, part_rows.positions
                if skip_positions is not None:  # positions do not change: skip what was yielded before
                    is_new = ~np.isin(positions, skip_positions)
                    rows, positions = rows[is_new], positions[is_new]
                for matches in read_rows(archive, LatestRows(part_rows.part, rows, positions), columns, column, values):
                    yield matches
                    yielded_positions.append(matches[0].positions)
            return
        except FileNotFoundError:
            continue
    raise StoreError(f"{archive.url}: parts of its catalog are removed while they are read; try again.")


def read_rows(
    archive: Location, part_rows: LatestRows, columns: Sequence[str], column: str = "", values: Collection[str] = ()
) -> Iterator[tuple[LatestRows, pa.Table]]:
    """Rows of one part, in order, a row group at a time. column, values: as for `iter_latest`."""
    value_set = pa.array(sorted(values), pa.string())
    path = f"{CATALOG_FOLDER}/{part_rows.part}"
    with translate_read_errors(archive, path):
        file = pq.ParquetFile(io.BytesIO(archive.read_checked(path)), pre_buffer=False)
        stop = 0
        for group in range(file.num_row_groups):
            start, stop = stop, stop + file.metadata.row_group(group).num_rows
            group_slice = slice(*np.searchsorted(part_rows.rows, (start, stop)).tolist())
            rows, positions = part_rows.rows[group_slice], part_rows.positions[group_slice]
            if column and len(rows):
                column_values = _conform_columns(
                    _read_row_group(file, group, [column]), [column], archive, part_rows.part
                )[column]
                is_match = pc.is_in(column_values.take(pa.array(rows - start)), value_set=value_set).to_numpy(
                    zero_copy_only=False
                )
                rows, positions = rows[is_match], positions[is_match]
            if len(rows):
                table = _conform_columns(_read_row_group(file, group, columns), columns, archive, part_rows.part)
                is_whole_group = len(rows) == stop - start
                yield (
                    LatestRows(part_rows.part, rows, positions),
                    table if is_whole_group else table.take(pa.array(rows - start)),
                )


def _read_row_group(file: pq.ParquetFile, group: int, columns: Sequence[str]) -> pa.Table:
    return file.read_row_group(group, columns=_with_old_names(columns), use_threads=False)


def find_latest_rows(archive: Location) -> list[LatestRows]:
    """The position in the parts of the latest event of every input."""
    active_parts = list_active_parts(archive)
    keys = [read_events(archive, name, ["key"])["key"] for name in active_parts]
    ends = np.cumsum([0, *map(len, keys)])
    key_column = pa.chunked_array([chunk for part in keys for chunk in part.chunks], pa.string()).combine_chunks()
    codes = key_column.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    last_event = np.zeros(int(codes.max()) + 1 if len(codes) else 0, dtype=np.int64)
    last_event[codes] = np.arange(len(codes))  # of repeated indices, the last assignment stays
    event_numbers = np.sort(last_event)
    latest_rows = []
    for name, start, stop in zip(active_parts, ends[:-1], ends[1:], strict=True):
        part_events = event_numbers[np.searchsorted(event_numbers, start) : np.searchsorted(event_numbers, stop)]
        if len(part_events):
            latest_rows.append(LatestRows(name, part_events - start, codes[part_events]))
    return latest_rows


def read_events(archive: Location, name: str, columns: Sequence[str]) -> pa.Table:
    """The events of one part, with today's columns."""
    table = read_parquet(archive, f"{CATALOG_FOLDER}/{name}", _with_old_names(columns))
    return _conform_columns(table, columns, archive, name)


def _with_old_names(columns: Sequence[str]) -> list[str]:
    """Columns by today's names and by those that earlier layout versions wrote. Reading skips those that are missing."""
    return [*columns, *(old for old, new in CATALOG_COLUMNS.items() if new in columns)]


def _conform_columns(table: pa.Table, columns: Sequence[str], archive: Location, name: str) -> pa.Table:
    names = [CATALOG_COLUMNS.get(name, name) for name in table.column_names]
    table = table.rename_columns(names)
    arrays = []
    for column in columns:
        if column in table.column_names:
            arrays.append(table[column].cast(_READ_TYPES[column]))
        elif column in _DEFAULTS_BEFORE_V2:
            arrays.append(
                pa.chunked_array([pa.repeat(pa.scalar(_DEFAULTS_BEFORE_V2[column], _READ_TYPES[column]), len(table))])
            )
        else:
            raise StoreError(f"{archive.url}/{CATALOG_FOLDER}/{name} is damaged: it has no column {column!r}.")
    return pa.table(arrays, schema=_make_schema(columns))


def replaced_parts(archive: Location, name: str) -> set[str]:
    """The names of the parts that a compact part replaces.

    Raises:
        StoreError: If it is damaged.
    """
    data = archive.read_checked(f"{CATALOG_FOLDER}/{name}")
    try:
        metadata = pq.read_schema(io.BytesIO(data)).metadata
        compressed = metadata.get(REPLACED_PARTS_KEY) or metadata[_OLD_REPLACED_PARTS_KEY]
        return set(json.loads(zlib.decompress(compressed)))
    except (pa.ArrowException, zlib.error, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{archive.url}/{CATALOG_FOLDER}/{name} is damaged: {error}.") from error


def list_parts(archive: Location) -> list[str]:
    """All parts, also those that are not read any more."""
    return [name for name in archive.list_checked_names(CATALOG_FOLDER) if _PART_NAME.fullmatch(name)]


def _make_schema(columns: Sequence[str]) -> pa.Schema:
    return pa.schema([(name, _READ_TYPES[name]) for name in columns])


def _make_empty_table(columns: Sequence[str]) -> pa.Table:
    return _make_schema(columns).empty_table()
