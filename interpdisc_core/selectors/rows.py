"""Feature rows wherever they lie, as a selection reads them: block by block in order, or a few by number.

Values are those that are stored: whatever the type of the store, `take` gives its exact values in float64. What was
read is counted, whole chunks where a store gives no less.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[Any]
Index = npt.NDArray[np.intp]

BLOCK = 2048
"""Rows that are looked at together. Sums over rows go block by block in this order, so that no chunking changes a bit."""


@dataclass
class Reads:
    """What a source gave. rows: read, repeats counted. bytes: the store's own, whole chunks counted. chunks: of them."""

    rows: int = 0
    bytes: int = 0
    chunks: int = 0

    def __add__(self, other: "Reads") -> "Reads":
        return Reads(self.rows + other.rows, self.bytes + other.bytes, self.chunks + other.chunks)


class Rows(Protocol):
    """N rows of d features, read-only."""

    @property
    def reads(self) -> Reads:
        """What was read so far."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """A float type that holds every value exactly."""

    def get(self, rows: Index) -> Features:
        """Rows by number (m,), in the order asked for: (m, d) of `dtype`."""


def take(rows: Rows, which: Index) -> Floats:
    """Rows by number (m,): (m, d) float64, exact."""
    # In C order: sums over a row in another order of memory could differ in their last bits.
    return np.ascontiguousarray(rows.get(which), dtype=np.float64)


def blocks(rows: Rows, start: int = 0, stop: int | None = None) -> Iterator[tuple[slice, Features]]:
    """Rows [start, stop) in blocks that begin at multiples of BLOCK: their place, and values (m, d)."""
    stop = rows.shape[0] if stop is None else stop
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        yield slice(first, last), rows.get(np.arange(first, last))


class ArrayRows:
    """Rows of an array in memory or memory-mapped, float16, float32 or float64; integers and booleans as float64.

    scale (N,): for a quantised array; a value is then the product of the two, in float64.
    """

    def __init__(self, array: Features, scale: npt.NDArray[Any] | None = None) -> None:
        """Raises PlanError for an array that is not (N, d) numbers."""
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise PlanError(f"features must be an array (N, d) of numbers, not {array.shape} {array.dtype}.")
        self.array, self.scale, self.reads = array, scale, Reads()
        exact = array.dtype.kind == "f" and scale is None
        self._dtype = array.dtype.newbyteorder("=") if exact else np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """See `Rows`."""
        return (self.array.shape[0], self.array.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """See `Rows`."""
        return self._dtype

    def get(self, rows: Index) -> Features:
        """See `Rows`."""
        found = self.array[_slice(rows)]
        self.reads.rows += len(rows)
        self.reads.bytes += found.nbytes
        if self.scale is not None:
            return _scaled(found, self.scale[_slice(rows)])
        values: Features = found.astype(self._dtype, copy=False)
        return values


class ChunkedRows:
    """Rows that a store gives in chunks, of which the last few are kept.

    chunk_of (N,), row_of (N,): the chunk that a row lies in, by any number, and its place there. read: what the store
    has of a chunk (m, d), by its number. keep: bytes of chunks that are kept. decode: the values (m, d) of a chunk.
    """

    def __init__(
        self,
        dimension: int,
        dtype: np.dtype[Any],
        chunk_of: Index,
        row_of: Index,
        read: Callable[[int], Features],
        keep: int = 256 << 20,
        decode: Callable[[int, Features], Features] = lambda number, values: values,
    ) -> None:
        self._shape, self._dtype, self.read, self.keep = (len(chunk_of), dimension), dtype, read, keep
        self.chunk_of, self.row_of, self.decode, self.reads = chunk_of, row_of, decode, Reads()
        self._kept: OrderedDict[int, Features] = OrderedDict()
        self._one = threading.Lock()  # shards ask from several threads; counts and chunks are the same for all

    @property
    def shape(self) -> tuple[int, int]:
        """See `Rows`."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """See `Rows`."""
        return self._dtype

    def get(self, rows: Index) -> Features:
        """See `Rows`."""
        self.reads.rows += len(rows)
        found = np.empty((len(rows), self._shape[1]), self._dtype)
        chunks = self.chunk_of[rows]
        for chunk in np.unique(chunks):
            here = np.flatnonzero(chunks == chunk)
            found[here] = self._chunk(int(chunk))[self.row_of[rows[here]]]
        return found

    def _chunk(self, number: int) -> Features:
        with self._one:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        stored = self.read(number)
        values = self.decode(number, stored)
        with self._one:
            self.reads.chunks += 1
            self.reads.bytes += stored.nbytes
            self._kept[number] = values
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > self.keep:
                self._kept.popitem(last=False)
        return values


class _OtherRows:
    """Rows that are made of others' when they are read."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    @property
    def reads(self) -> Reads:
        """See `Rows`."""
        return self.rows.reads

    @property
    def shape(self) -> tuple[int, int]:
        """See `Rows`."""
        return self.rows.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """See `Rows`."""
        return self.rows.dtype


class PartRows(_OtherRows):
    """Some of others' rows, `which` (n,) by number."""

    def __init__(self, rows: Rows, which: Index) -> None:
        super().__init__(rows)
        self.which = which

    @property
    def shape(self) -> tuple[int, int]:
        """See `Rows`."""
        return (len(self.which), self.rows.shape[1])

    def get(self, rows: Index) -> Features:
        """See `Rows`."""
        return self.rows.get(self.which[rows])


class UnitRows(_OtherRows):
    """Others' rows, each divided by its length; a row of zeros stays. float16 becomes float32.

    A missing value stays missing and adds nothing to the length.
    """

    @property
    def dtype(self) -> np.dtype[Any]:
        """See `Rows`."""
        return np.result_type(self.rows.dtype, np.float32)

    def get(self, rows: Index) -> Features:
        """See `Rows`."""
        return unit(self.rows.get(rows))


class FilledRows(_OtherRows):
    """Others' rows, with 0 where a value is missing."""

    def get(self, rows: Index) -> Features:
        """See `Rows`."""
        values = self.rows.get(rows)
        return np.where(np.isnan(values), values.dtype.type(0), values) if np.isnan(values).any() else values


def unit(values: Features) -> Features:
    """Rows (n, d) divided by their lengths, as `UnitRows`; each result depends on its row only, to the last bit."""
    values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    divided: Features = values / lengths_of(values)[:, None]
    return divided


def lengths_of(values: Features) -> Features:
    """What rows (n, d) are divided by: their lengths (n,), 1 for a row of zeros."""
    missing = np.isnan(values)
    lengths = np.linalg.norm(np.where(missing, values.dtype.type(0), values) if missing.any() else values, axis=1)
    found: Features = np.where(lengths > 0, lengths, 1).astype(values.dtype)
    return found


def zarr_rows(array: Any, scale: npt.NDArray[Any] | None = None) -> ChunkedRows:
    """Rows of a Zarr array (N, d), also one larger than memory. scale (N,): for a quantised one, as in `ArrayRows`.

    Raises PlanError for an array that is not (N, d) numbers.
    """
    if len(array.shape) != 2 or array.dtype.kind not in "fiub":
        raise PlanError(f"features must be an array (N, d) of numbers, not {array.shape} {array.dtype}.")
    step, every = array.chunks[0], np.arange(array.shape[0])
    exact = array.dtype.kind == "f" and scale is None

    def read(number: int) -> Features:
        values: Features = array[number * step : (number + 1) * step]
        return values

    def decode(number: int, values: Features) -> Features:
        return values if scale is None else _scaled(values, scale[number * step : (number + 1) * step])

    dtype = array.dtype.newbyteorder("=") if exact else np.dtype(np.float64)
    return ChunkedRows(array.shape[1], dtype, every // step, every % step, read, decode=decode)


def as_rows(features: "Features | Rows") -> Rows:
    """`features` itself where it is a `Rows`, else the rows of an array (N, d)."""
    return ArrayRows(features) if isinstance(features, np.ndarray) else features


def _scaled(steps: Features, scale: npt.NDArray[Any]) -> Floats:
    return steps.astype(np.float64) * np.asarray(scale, dtype=np.float64)[:, None]


def _slice(rows: Index) -> Any:
    """Consecutive numbers as a slice, so that a block of an array is no copy."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and bool(np.all(np.diff(rows) == 1)):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
