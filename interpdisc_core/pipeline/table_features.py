"""Features from tables: Parquet, and CSV in the form of the original DEMUD (label first)."""

import csv
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from interpdisc_core import sources
from interpdisc_core._types import AnyArray
from interpdisc_core.errors import PlanError, one_line
from interpdisc_core.pipeline.bare_features import build_bare_table, name_read_errors, to_text
from interpdisc_core.pipeline.feature_columns import find_feature_columns, is_list
from interpdisc_core.pipeline.feature_table import FeatureTable
from interpdisc_core.selectors.rows import ArrayRows, ChunkedRows
from interpdisc_core.storage.location import Location


def read_parquet_features(source: str, path: str) -> FeatureTable:
    """Read Parquet: the columns that `find_feature_columns` finds; a chunk is a row group."""
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
        schema = file.schema_arrow
        header = [dict.fromkeys(schema.names, "")]
        identifier = sources.find_column(header, sources.ID_COLUMNS)
        if identifier is None:
            texts = [{f.name: "" for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)}]
            identifier = sources.find_column(texts, sources.PATH_COLUMNS)
        label = sources.find_column(header, sources.LABEL_COLUMNS)
        columns = find_feature_columns(source, schema, {identifier, label})
        feature_columns, is_list_column = list(columns.taken), is_list(schema.field(columns.taken[0]).type)

        def read_columns(names: Sequence[str]) -> dict[str, list[object]]:
            table = file.read(columns=list(names), use_threads=False)
            return {name: table.column(name).to_pylist() for name in names}

        id_columns = read_columns([name for name in (identifier, label) if name])
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        dtype = _common_float_dtype(
            schema.field(name).type.value_type if is_list_column else schema.field(name).type
            for name in feature_columns
        )

        read_lock = (
            threading.Lock()
        )  # a selection may read from several threads, and a Parquet reader is not thread-safe

        def read_chunk(number: int) -> AnyArray:
            with read_lock:
                table = file.read_row_group(number, columns=feature_columns, use_threads=False)
            return _lists_to_array(table.column(0), dtype) if is_list_column else _columns_to_array(table, dtype)

        dimension = len(feature_columns)
        if is_list_column:
            kind = schema.field(feature_columns[0]).type
            is_fixed_size = pa.types.is_fixed_size_list(kind)
            dimension = (
                kind.list_size
                if is_fixed_size
                else next((d for i in range(len(sizes)) if (d := read_chunk(i).shape[1])), 0)
            )
    except PlanError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise PlanError(f"{source}: cannot be read as Parquet: {one_line(error)}.") from None

    def read_checked_chunk(number: int) -> AnyArray:
        values = read_chunk(number)
        if not values.shape[1]:  # not one of its rows has a list
            return np.full((len(values), dimension), np.nan, dtype=dtype)
        if values.shape[1] != dimension:
            raise ValueError(f"its lists have {values.shape[1]} numbers, the first ones {dimension}")
        return values

    chunk_of_row = np.repeat(np.arange(len(sizes)), sizes)
    row_in_chunk = np.concatenate([np.arange(size) for size in sizes] or [np.empty(0, np.intp)])
    rows = ChunkedRows(dimension, dtype, chunk_of_row, row_in_chunk, name_read_errors(source, read_checked_chunk))
    fields = [f.name for f in schema if not pa.types.is_nested(f.type) and not pa.types.is_binary(f.type)]
    return build_bare_table(
        source,
        Location.parse(path),
        rows,
        [to_text(value) or "" for value in id_columns[identifier]] if identifier else None,
        [to_text(value) for value in id_columns[label]] if label else None,
        lambda: read_columns(fields),
        columns,
    )


def _common_float_dtype(kinds: Iterable[Any]) -> np.dtype[Any]:
    """A float dtype that holds all values; integers as float64."""
    names = ["float64" if pa.types.is_integer(kind) else kind.to_pandas_dtype() for kind in kinds]
    return np.result_type(*names)


def _lists_to_array(column: Any, dtype: np.dtype[Any]) -> AnyArray:
    """Lists of equal length as an array (n, d); a missing list and a null number are NaN."""
    array = column.combine_chunks()
    array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    lengths = np.asarray(array.value_lengths().to_numpy(zero_copy_only=False), dtype=np.float64)
    has_list = ~np.isnan(lengths)
    sizes = np.unique(lengths[has_list])
    if len(sizes) > 1:
        raise ValueError(f"its lists have different lengths, {int(sizes[0])} and {int(sizes[-1])} among them")
    dimension = int(sizes[0]) if len(sizes) else getattr(array.type, "list_size", 0)
    values = np.full((len(array), dimension), np.nan, dtype=dtype)
    flat = np.asarray(array.flatten().to_numpy(zero_copy_only=False), dtype=dtype)
    values[has_list] = flat.reshape(int(has_list.sum()), dimension)
    return values


def _columns_to_array(table: Any, dtype: np.dtype[Any]) -> AnyArray:
    """Columns of numbers as an array (n, d); null is NaN."""
    values = np.empty((len(table), table.num_columns), dtype=dtype)
    for number, column in enumerate(table.columns):
        values[:, number] = column.to_numpy()
    return values


def read_csv_features(source: str, path: str) -> FeatureTable:
    """Read CSV as the original DEMUD does: leading `#` lines are a header; then lines of a label and numbers.

    An empty field is NaN. If all labels are distinct they are the ids, and there are no classes.
    """
    from pyarrow import csv as arrow

    skip_count, first = 0, ""
    try:
        with open(path, encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
            for line in file:
                if line.strip() and not line.startswith("#"):
                    first = line
                    break
                skip_count += 1
        dimension = len(next(csv.reader([first]), [])) - 1
        if dimension < 1:
            raise PlanError(
                f"{source}: needs lines of a label and numbers, separated by commas; it has {first[:40]!r}."
            )
        numbers = [str(number) for number in range(1, dimension + 1)]
        table = arrow.read_csv(
            path,
            read_options=arrow.ReadOptions(
                use_threads=False,
                skip_rows=skip_count,
                column_names=["label", *numbers],
                block_size=min(max(16 << 20, 8 * len(first)), 2**31 - 1),
            ),
            convert_options=arrow.ConvertOptions(
                column_types={"label": pa.binary(), **dict.fromkeys(numbers, pa.float64())},
                null_values=["", "nan", "NaN", "NAN"],
            ),
        )
    except (OSError, pa.ArrowException, csv.Error) as error:
        raise PlanError(
            f"{source}: cannot be read as lines of a label and numbers: {one_line(error)}; "
            "header lines begin with #, and a list of images is for `interpdisc discover`."
        ) from None
    names = [bytes(label or b"").decode("utf-8", "backslashreplace").strip() for label in table.column(0).to_pylist()]
    values = _columns_to_array(table.select(numbers), np.dtype(np.float64))
    is_named = len(set(names)) == len(names)
    return build_bare_table(
        source,
        Location.parse(path),
        ArrayRows(values),
        names if is_named else None,
        None if is_named else [name or None for name in names],
    )
