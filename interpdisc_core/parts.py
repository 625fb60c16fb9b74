"""The parts of a catalog: a log of events in immutable Parquet files, read by column, and made fewer.

    catalog/<turn>-<what>.parquet       events; of two of one input that of the later name counts
    catalog/<turn>-compact.parquet      the latest event of every input, as of the parts that it names; it comes first
    catalog-history/<turn>.parquet      the events of those parts, all of them, for people

A part that a compact one names is not read any more, whether it is still there or written once more by a straggler; one
that it does not name counts after it, whatever its turn. So nothing is lost however the two fall together.
"""

import contextlib
import io
import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from interpdisc_core.errors import StoreError
from interpdisc_core.storage import Place

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "id", "uri")), ("size", pa.int64()),
        *((name, pa.string()) for name in ("stamp", "status", "why")), ("access", pa.bool_()),
        *((name, pa.string()) for name in ("sha256", "format")),
        ("width", pa.int32()), ("height", pa.int32()), ("mode", pa.string()), ("batch", pa.int32()),
        ("row", pa.int64()), *((name, pa.string()) for name in ("record", "header", "radiometry", "at")),
    ]
)  # fmt: skip
_READ = {field.name: field.type for field in SCHEMA} | {"record": pa.large_string(), "header": pa.large_string()}
"""What columns are read as: records of a large catalog are more than 2 GB of text, which Arrow's strings cannot hold."""
_LATER = {"header": "{}", "radiometry": ""}
"""Columns that layout version 1 did not have, and what they are there."""
FOLDER, HISTORY, COMPACT, NAMES = "catalog", "catalog-history", "-compact.parquet", b"stands for"
GROUP = 65_536
_TRIES = 5


def parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=GROUP)
    return sink.getvalue()


def table_of(archive: Place, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet table, or those of its columns that there are. Raises StoreError where it is damaged."""
    with _reading(archive, name):
        # Without Arrow's thread pools: reading a buffer with them sometimes aborts a busy machine's process at its exit.
        return pq.read_table(
            io.BytesIO(archive.read(name)), columns=None if columns is None else list(columns), use_threads=False,
            pre_buffer=False,
        )  # fmt: skip


@contextlib.contextmanager
def _reading(archive: Place, name: str) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise StoreError(f"{archive.url}/{name} is damaged: {error}.") from error


def next_turn(archive: Place) -> int:
    """The number of the next turn."""
    names = stored(archive)
    return int(names[-1].partition("-")[0]) + 1 if names else 0


def names(archive: Place) -> list[str]:
    """The parts that count, in the order in which they do."""
    there = stored(archive)
    compact = next((name for name in reversed(there) if name.endswith(COMPACT)), None)
    if compact is None:
        return there
    gone = stands_for(archive, compact) | {compact}
    return [compact, *(name for name in there if name not in gone)]


class Final(NamedTuple):
    """The rows of one part that are the latest of their inputs, and the places of these in order of first appearance."""

    name: str
    rows: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]


def latest(archive: Place, columns: Sequence[str] = tuple(SCHEMA.names)) -> pa.Table:
    """The latest event of every input, in order of first appearance: the columns asked for, `key` always among them.

    Needs memory for the result and what orders it, not for the log. Raises StoreError where a part is damaged.
    """
    wanted = [name for name in SCHEMA.names if name == "key" or name in columns]
    found, places = [_empty(wanted)], [np.empty(0, dtype=np.int64)]
    for final, table in finals(archive, wanted):
        found.append(table)
        places.append(final.places)
    whole, order = pa.concat_tables(found), np.concatenate(places)
    if np.all(order[1:] > order[:-1]):
        return whole
    return whole.take(pa.array(np.argsort(order)))


def finals(
    archive: Place, columns: Sequence[str], column: str = "", values: Collection[str] = ()
) -> Iterator[tuple[Final, pa.Table]]:  # fmt: skip
    """The latest event of every input, part by part, in the order of the parts: the columns asked for.

    column, values: only inputs whose `column` is one of the values. Raises StoreError where a part is damaged, and
    where parts are compacted away again and again while they are read.
    """
    done: list[npt.NDArray[np.int64]] = []
    for _ in range(_TRIES):
        again = np.concatenate(done) if done else None
        try:
            for final in final_rows(archive):
                rows, places = final.rows, final.places
                if again is not None:  # places are as they were: what was given already is left out
                    fresh = ~np.isin(places, again)
                    rows, places = rows[fresh], places[fresh]
                for some in taken(archive, Final(final.name, rows, places), columns, column, values):
                    yield some
                    done.append(some[0].places)
            return
        except FileNotFoundError:
            continue
    raise StoreError(f"{archive.url}: parts of its catalog vanish while they are read; try again.")


def taken(
    archive: Place, final: Final, columns: Sequence[str], column: str = "", values: Collection[str] = ()
) -> Iterator[tuple[Final, pa.Table]]:  # fmt: skip
    """Some rows of one part, in order, a row group at a time; with `column`, those where it is one of the values."""
    wanted = pa.array(sorted(values), pa.string())
    where = f"{FOLDER}/{final.name}"
    with _reading(archive, where):
        file = pq.ParquetFile(io.BytesIO(archive.read(where)), pre_buffer=False)
        stop = 0
        for group in range(file.num_row_groups):
            start, stop = stop, stop + file.metadata.row_group(group).num_rows
            within = slice(*np.searchsorted(final.rows, (start, stop)).tolist())
            rows, places = final.rows[within], final.places[within]
            if column and len(rows):
                told = _conformed(_group(file, group, [column]), [column], archive, final.name)[column]
                hit = pc.is_in(told.take(pa.array(rows - start)), value_set=wanted).to_numpy(zero_copy_only=False)
                rows, places = rows[hit], places[hit]
            if len(rows):
                table = _conformed(_group(file, group, columns), columns, archive, final.name)
                whole = len(rows) == stop - start
                yield Final(final.name, rows, places), table if whole else table.take(pa.array(rows - start))


def _group(file: pq.ParquetFile, group: int, columns: Sequence[str]) -> pa.Table:
    return file.read_row_group(
        group, columns=[name for name in columns if name in file.schema_arrow.names], use_threads=False
    )


def final_rows(archive: Place) -> list[Final]:
    """Where the latest event of every input is."""
    counting = names(archive)
    keys = [events(archive, name, ["key"])["key"] for name in counting]
    ends = np.cumsum([0, *map(len, keys)])
    encoded = pa.chunked_array([chunk for part in keys for chunk in part.chunks], pa.string()).combine_chunks()
    codes = encoded.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    last = np.zeros(int(codes.max()) + 1 if len(codes) else 0, dtype=np.int64)
    last[codes] = np.arange(len(codes))  # of several the last one stays
    where = np.sort(last)
    found = []
    for name, start, stop in zip(counting, ends[:-1], ends[1:], strict=True):
        mine = where[np.searchsorted(where, start) : np.searchsorted(where, stop)]
        if len(mine):
            found.append(Final(name, mine - start, codes[mine]))
    return found


def events(archive: Place, name: str, columns: Sequence[str]) -> pa.Table:
    """The events of one part, with what its layout version did not have yet."""
    return _conformed(table_of(archive, f"{FOLDER}/{name}", columns), columns, archive, name)


def _conformed(table: pa.Table, columns: Sequence[str], archive: Place, name: str) -> pa.Table:
    arrays = []
    for column in columns:
        if column in table.column_names:
            arrays.append(table[column].cast(_READ[column]))
        elif column in _LATER:
            arrays.append(pa.chunked_array([pa.repeat(pa.scalar(_LATER[column], _READ[column]), len(table))]))
        else:
            raise StoreError(f"{archive.url}/{FOLDER}/{name} is damaged: it has no column {column!r}.")
    return pa.table(arrays, schema=_schema(columns))


def stands_for(archive: Place, name: str) -> set[str]:
    """The parts that a compact part names. Raises StoreError where it is damaged."""
    data = archive.read(f"{FOLDER}/{name}")
    try:
        told = pq.read_schema(io.BytesIO(data)).metadata
        return set(json.loads(zlib.decompress(told[NAMES])))
    except (pa.ArrowException, zlib.error, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{archive.url}/{FOLDER}/{name} is damaged: {error}.") from error


def stored(archive: Place) -> list[str]:
    """All parts that there are, whether or not they count."""
    return archive.names(FOLDER)


def _schema(columns: Sequence[str]) -> pa.Schema:
    return pa.schema([(name, _READ[name]) for name in columns])


def _empty(columns: Sequence[str]) -> pa.Table:
    return _schema(columns).empty_table()
