"""Chunks of a user's Zarr array that are missing: Zarr reads them as its fill value, so nothing else would tell.

A chunk that was never written (an interrupted copy or computation) cannot be told from one of the fill value that the
writer left out, as Zarr does unless it is told `write_empty_chunks`. Neither is taken for features.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from interpdisc_core._types import AnyArray

ADVICE = "if they are really the fill value, write the array again with write_empty_chunks=True"

MissingRows = npt.NDArray[np.bool_]


def find_missing_rows(array: Any, names: Collection[str]) -> MissingRows:
    """The rows (N,) of an array of which at least one chunk, or shard of chunks, is missing.

    Args:
        array: Zarr v2 or v3, of one dimension or more.
        names: The files of its store.
    """
    steps = array.shards or array.chunks
    grid = tuple(-(-size // step) for size, step in zip(array.shape, steps, strict=True))
    prefix = f"{array.path}/" if array.path else ""
    is_missing = np.zeros(array.shape[0], dtype=bool)
    for place in np.ndindex(grid):
        if f"{prefix}{array.metadata.encode_chunk_key(place)}" not in names:
            is_missing[place[0] * steps[0] : (place[0] + 1) * steps[0]] = True
    return is_missing


def check_chunk_reads(array: Any, read_chunk: Callable[[int], AnyArray]) -> Callable[[int], AnyArray]:
    """The same function, which raises for a chunk that is not there when it is read: lost meanwhile, or within a shard.

    Args:
        array: Zarr v2 or v3 (N, d) of numbers.
        read_chunk: Returns rows [number · n, (number + 1) · n), n the rows of a chunk.
    """
    fill = array.dtype.type(0 if array.fill_value is None else array.fill_value)
    other_fill = array.dtype.type(0 if fill else 1)
    # The same store, read with another fill value: only what is missing differs.
    metadata = dataclasses.replace(array.metadata, fill_value=other_fill)
    other_array = zarr.Array(dataclasses.replace(array.async_array, metadata=metadata))
    rows, columns = array.chunks

    def read_present_chunk(number: int) -> AnyArray:
        values = read_chunk(number)
        is_fill = np.isnan(values) if fill != fill else values == fill  # noqa: PLR0124 - NaN
        if any(is_fill[:, first : first + columns].all() for first in range(0, values.shape[1], columns)):
            other_values = other_array[number * rows : (number + 1) * rows]
            if not np.array_equal(values, other_values, equal_nan=bool(fill != fill)):  # noqa: PLR0124
                raise ValueError(f"it is missing; {ADVICE}")
        return values

    return read_present_chunk
