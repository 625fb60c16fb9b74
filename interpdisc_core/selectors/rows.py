"""Feature rows from any store, as a selection reads them: block by block in order, or a few by index.

Values are those stored: whatever the type of the store, `gather_float64` returns them exactly. Reads are counted, by
whole chunks if the store reads no less.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from interpdisc_core._types import AnyArray, FloatArray, IndexArray
from interpdisc_core.errors import PlanError

BLOCK_ROWS = 2048
"""Rows read at a time. Sums over rows go block by block in order, so that no chunking of a store changes a bit."""

MAX_MAGNITUDE, MIN_MAGNITUDE = 1e70, 1e-70
"""A larger value is refused, and so are rows that all differ by less than the second: a selection multiplies squares, and
beyond these such products are infinite or 0 in float64."""


@dataclass
class ReadStats:
    """What was read from a store.

    Attributes:
        rows: Rows, repeats included.
        bytes: As stored, whole chunks counted.
        chunks: Chunks, if the store has any.
    """

    rows: int = 0
    bytes: int = 0
    chunks: int = 0

    def __add__(self, other: "ReadStats") -> "ReadStats":
        return ReadStats(self.rows + other.rows, self.bytes + other.bytes, self.chunks + other.chunks)


class Rows(Protocol):
    """N rows of d features, read-only."""

    @property
    def read_stats(self) -> ReadStats:
        """Reads so far."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The float type of `get`, which holds every value exactly."""

    def get(self, rows: IndexArray) -> AnyArray:
        """Rows (m, d) of `dtype` at indices `rows` (m,), in this order."""


def gather_float64(rows: Rows, indices: IndexArray) -> FloatArray:
    """Rows (m, d) at `indices` (m,), exact float64 in C order."""
    # C order, since sums over a row in another memory order could differ in their last bits.
    return np.ascontiguousarray(rows.get(indices), dtype=np.float64)


def iter_blocks(rows: Rows, start: int = 0, stop: int | None = None) -> Iterator[tuple[slice, AnyArray]]:
    """Blocks of rows [start, stop): the slice of each and its values (m, d), m at most BLOCK_ROWS."""
    stop = rows.shape[0] if stop is None else stop
    for first in range(start, stop, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, stop)
        yield slice(first, last), rows.get(np.arange(first, last))


class ArrayRows:
    """Rows of an array in memory or memory-mapped: floats in their own type, integers and booleans as float64.

    With `scale` (N,) the array is quantized by row: a value is the product of the two, in float64.
    """

    def __init__(self, array: AnyArray, scale: npt.NDArray[Any] | None = None) -> None:
        """Raises PlanError if the array is not (N, d) numbers."""
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise PlanError(f"features must be an array (N, d) of numbers, not {array.shape} {array.dtype}.")
        self.array, self.scale, self.read_stats = array, scale, ReadStats()
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

    def get(self, rows: IndexArray) -> AnyArray:
        """See `Rows`."""
        raw = self.array[_as_slice(rows)]
        self.read_stats.rows += len(rows)
        self.read_stats.bytes += raw.nbytes
        if self.scale is not None:
            return _dequantize(raw, self.scale[_as_slice(rows)])
        values: AnyArray = raw.astype(self._dtype, copy=False)
        return values


class ChunkedRows:
    """Rows of a store that is read by chunks; the chunks used last are cached. Safe to use from several threads."""

    def __init__(
        self,
        dimension: int,
        dtype: np.dtype[Any],
        chunk_numbers: IndexArray,
        rows_in_chunk: IndexArray,
        read_chunk: Callable[[int], AnyArray],
        cache_bytes: int = 256 << 20,
        decode_chunk: Callable[[int, AnyArray], AnyArray] = lambda number, values: values,
    ) -> None:
        """Rows (N, d) of chunks.

        Args:
            dimension: d.
            dtype: Of the values.
            chunk_numbers: Chunk of each row (N,), by any number.
            rows_in_chunk: Index of each row within its chunk (N,).
            read_chunk: The stored content of a chunk (m, d), by its number.
            cache_bytes: Bytes of chunks that are cached; the last one is kept in any case.
            decode_chunk: The values (m, d) of a chunk, from its number and content.
        """
        self._shape, self._dtype = (len(chunk_numbers), dimension), dtype
        self.read_chunk, self.decode_chunk, self.cache_bytes = read_chunk, decode_chunk, cache_bytes
        self.chunk_numbers, self.rows_in_chunk, self.read_stats = chunk_numbers, rows_in_chunk, ReadStats()
        self._cache: OrderedDict[int, AnyArray] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def shape(self) -> tuple[int, int]:
        """See `Rows`."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """See `Rows`."""
        return self._dtype

    def get(self, rows: IndexArray) -> AnyArray:
        """See `Rows`."""
        self.read_stats.rows += len(rows)
        values = np.empty((len(rows), self._shape[1]), self._dtype)
        chunks = self.chunk_numbers[rows]
        for chunk in np.unique(chunks):
            positions = np.flatnonzero(chunks == chunk)
            values[positions] = self._load_chunk(int(chunk))[self.rows_in_chunk[rows[positions]]]
        return values

    def _load_chunk(self, number: int) -> AnyArray:
        with self._lock:
            if number in self._cache:
                self._cache.move_to_end(number)
                return self._cache[number]
        raw = self.read_chunk(number)
        values = self.decode_chunk(number, raw)
        with self._lock:
            self.read_stats.chunks += 1
            self.read_stats.bytes += raw.nbytes
            self._cache[number] = values
            while len(self._cache) > 1 and sum(chunk.nbytes for chunk in self._cache.values()) > self.cache_bytes:
                self._cache.popitem(last=False)
        return values


class _DerivedRows:
    """Rows derived from other rows when they are read."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    @property
    def read_stats(self) -> ReadStats:
        """See `Rows`."""
        return self.rows.read_stats

    @property
    def shape(self) -> tuple[int, int]:
        """See `Rows`."""
        return self.rows.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """See `Rows`."""
        return self.rows.dtype


class SubsetRows(_DerivedRows):
    """The rows at `indices` (n,) of other rows."""

    def __init__(self, rows: Rows, indices: IndexArray) -> None:
        super().__init__(rows)
        self.indices = indices

    @property
    def shape(self) -> tuple[int, int]:
        """See `Rows`."""
        return (len(self.indices), self.rows.shape[1])

    def get(self, rows: IndexArray) -> AnyArray:
        """See `Rows`."""
        return self.rows.get(self.indices[rows])


class NormalizedRows(_DerivedRows):
    """Other rows, normalized by `l2_normalize`."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """See `Rows`."""
        return np.result_type(self.rows.dtype, np.float32)

    def get(self, rows: IndexArray) -> AnyArray:
        """See `Rows`."""
        return l2_normalize(self.rows.get(rows))


class ZeroFilledRows(_DerivedRows):
    """Other rows, with 0 in place of missing values (NaN)."""

    def get(self, rows: IndexArray) -> AnyArray:
        """See `Rows`."""
        values = self.rows.get(rows)
        return np.where(np.isnan(values), values.dtype.type(0), values) if np.isnan(values).any() else values


def l2_normalize(values: AnyArray) -> AnyArray:
    """Rows (n, d) of any float type, each divided by its Euclidean length; a row of zeros stays. float16 becomes float32.

    A missing value (NaN) stays missing and adds nothing to the length. Each result depends on its row only, to the bit.

    Example:
        >>> l2_normalize(np.array([[3.0, 4.0], [0.0, 0.0]]))
        array([[0.6, 0.8],
               [0. , 0. ]])
    """
    values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    exponents = _find_extreme_exponents(values)
    if exponents is not None:  # multiplied by a power of 2, which changes no other bit
        values = np.ldexp(values, -exponents[:, None])
    normalized: AnyArray = values / row_norms(values)[:, None]
    return normalized


def row_norms(values: AnyArray) -> AnyArray:
    """What `l2_normalize` divides rows (n, d) by: their lengths (n,), 1 for a row of zeros."""
    exponents = _find_extreme_exponents(values)
    if exponents is not None:
        with np.errstate(over="ignore"):  # a length beyond the type is infinite
            lengths: AnyArray = np.ldexp(row_norms(np.ldexp(values, -exponents[:, None])), exponents)
        return np.where(lengths > 0, lengths, 1)
    missing = np.isnan(values)
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(np.where(missing, values.dtype.type(0), values) if missing.any() else values, axis=1)
    limits = np.finfo(lengths.dtype)
    unsafe = (lengths < np.sqrt(limits.tiny) / limits.eps) | np.isinf(lengths)  # squares beyond the type: scaled first
    if unsafe.any():
        few = np.where(missing, 0, values)[unsafe]
        sizes = np.abs(few).max(axis=1, keepdims=True, initial=0)
        is_scaled = (sizes > 0) & np.isfinite(sizes)
        scaled = np.divide(few, sizes, out=few.copy(), where=is_scaled)
        lengths[unsafe] = np.linalg.norm(scaled, axis=1) * np.where(is_scaled, sizes, 1)[:, 0]
    norms: AnyArray = np.where(lengths > 0, lengths, 1).astype(values.dtype)
    return norms


def _find_extreme_exponents(values: AnyArray) -> IndexArray | None:
    """The binary exponents (n,) of rows (n, d) whose squares leave the range of their type, 0 for others; None if all are."""
    if values.dtype == np.float16 or not values.size:  # its squares are summed in a wider type
        return None
    limits = np.finfo(values.dtype)
    with np.errstate(invalid="ignore"):
        largest = np.fmax.reduce(np.abs(values), axis=1)
        is_extreme = (largest > np.sqrt(limits.max / values.shape[1]) / 2) | (
            (largest > 0) & (largest < np.sqrt(limits.tiny) / limits.eps)
        )
    is_extreme &= np.isfinite(largest)
    return np.where(is_extreme, np.frexp(largest)[1], 0) if is_extreme.any() else None


def open_zarr_rows(array: Any, scale: npt.NDArray[Any] | None = None) -> ChunkedRows:
    """Rows of a Zarr array (N, d), which may be larger than memory. scale (N,): of a quantized one, as in `ArrayRows`.

    Raises:
        PlanError: If the array is not (N, d) numbers.
    """
    if len(array.shape) != 2 or array.dtype.kind not in "fiub":
        raise PlanError(f"features must be an array (N, d) of numbers, not {array.shape} {array.dtype}.")
    step, row_numbers = array.chunks[0], np.arange(array.shape[0])
    is_exact = array.dtype.kind == "f" and scale is None

    def read_chunk(number: int) -> AnyArray:
        values: AnyArray = array[number * step : (number + 1) * step]
        return values

    def decode_chunk(number: int, values: AnyArray) -> AnyArray:
        return values if scale is None else _dequantize(values, scale[number * step : (number + 1) * step])

    dtype = array.dtype.newbyteorder("=") if is_exact else np.dtype(np.float64)
    return ChunkedRows(
        array.shape[1], dtype, row_numbers // step, row_numbers % step, read_chunk, decode_chunk=decode_chunk
    )


class ValueFault(NamedTuple):
    """A value that no selection can use.

    Attributes:
        row: Its row.
        is_finite: Whether it is finite, but too large.
        text: What is wrong with the row and what to do, after its name.
    """

    row: int
    is_finite: bool
    text: str


def find_value_fault(values: AnyArray, *, may_be_missing: bool = False) -> ValueFault | None:
    """The first value of rows (m, d) that no selection can use, if there is one. may_be_missing: whether NaN is no fault."""
    if float(np.finfo(values.dtype).max) < MAX_MAGNITUDE:
        is_usable = np.isfinite(values)
    else:
        with np.errstate(invalid="ignore"):
            is_usable = np.abs(values) <= MAX_MAGNITUDE
    if may_be_missing:
        is_usable |= np.isnan(values)
    if is_usable.all():
        return None
    row, feature = (int(index) for index in np.argwhere(~is_usable)[0])
    value = values[row, feature]
    if not np.isfinite(value):
        return ValueFault(row, False, f"has no finite value in feature {feature} ({value}): leave it out")
    return ValueFault(
        row,
        True,
        f"has {value:.3g} in feature {feature}; numbers beyond {MAX_MAGNITUDE:g} are infinite in float64 once they are squared and "
        "summed: divide all features by a number, or leave it out",
    )


def describe_tiny_rows(rows: Rows, center: FloatArray) -> str:
    """Why rows (N, d) whose values all differ from `center` (d,) by less than MIN_MAGNITUDE cannot be selected from."""
    row, feature, largest = 0, 0, -1.0
    for block_slice, values in iter_blocks(rows):
        offsets = np.nan_to_num(np.abs(values.astype(np.float64) - center))
        place = np.unravel_index(int(offsets.argmax()), offsets.shape)
        if offsets[place] > largest:
            row, feature, largest = block_slice.start + int(place[0]), int(place[1]), float(offsets[place])
    return (
        f"all rows differ by {largest:.3g} at most (row {row}, feature {feature}), and numbers below "
        f"{MIN_MAGNITUDE:g} are 0 in float64 once they are squared: multiply the features by a number."
    )


def as_rows(features: "AnyArray | Rows") -> Rows:
    """The rows of an array (N, d); `Rows` are returned as they are. Raises PlanError as `ArrayRows` does."""
    return ArrayRows(features) if isinstance(features, np.ndarray) else features


def _dequantize(steps: AnyArray, scale: npt.NDArray[Any]) -> FloatArray:
    return steps.astype(np.float64) * np.asarray(scale, dtype=np.float64)[:, None]


def _as_slice(rows: IndexArray) -> Any:
    """Consecutive indices as a slice, so that a block of an array is not copied."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and bool(np.all(np.diff(rows) == 1)):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
