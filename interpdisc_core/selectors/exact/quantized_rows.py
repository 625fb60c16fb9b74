"""Fixed-point copies of feature rows, and bounds of their error.

A row x is stored as 16-bit (or 8-bit) integers q and one scale s, so that x = c + s·q + e with |e| ≤ `error_bound`: a bound
that holds for the numbers as stored, rounding included. An int16 copy of real features is within 2e-4 of |x − c|. What a
copy cannot decide is decided by the rows themselves.
"""

import tempfile
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core._types import AnyArray, FloatArray, IndexArray

CopyBits = Literal[8, 16]
_CHUNK_ROWS = 128
"""Rows quantized at a time: their intermediate results stay in the processor's cache."""
_ROUNDING_F32 = float(np.finfo(np.float32).eps) / 2  # the rounding of one float32 operation
_ROUNDING_F64 = float(np.finfo(np.float64).eps) / 2


def allocate_array(shape: tuple[int, ...], dtype: npt.DTypeLike, in_file: bool) -> npt.NDArray[Any]:
    """An uninitialized array in memory, or in an anonymous temporary file that goes when the array does."""
    if not in_file or 0 in shape:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


@dataclass
class QuantizedRows:
    """Fixed-point copies of n rows.

    Attributes:
        center: c (d,), exact in float32 if the rows are in its range.
        steps: q (n, d), int16 or int8.
        scale: s (n,).
        norm: |s·q| (n,).
        error_bound: At least |x − c − s·q| (n,).
        radius: |x − c| (n,), to six digits, with the same bits for copies of any width.
        has_missing: Rows with missing values (n,); their copies are void.
    """

    center: FloatArray
    steps: npt.NDArray[Any]
    scale: FloatArray
    norm: FloatArray
    error_bound: FloatArray
    radius: FloatArray
    has_missing: npt.NDArray[np.bool_]

    @classmethod
    def allocate(cls, count: int, center: FloatArray, copy_bits: CopyBits, in_file: bool) -> "QuantizedRows":
        """Space for copies of `count` rows about `center` (d,), in memory or in a temporary file."""
        step_dtype = np.int16 if copy_bits == 16 else np.int8
        steps = allocate_array((count, len(center)), step_dtype, in_file)
        scale, norm, error_bound, radius = np.zeros((4, count))
        return cls(center, steps, scale, norm, error_bound, radius, np.zeros(count, dtype=bool))

    def quantize(self, target: slice, values: AnyArray) -> None:
        """Copy rows (m, d) of any float type to the slice `target`."""
        for first in range(0, len(values), _CHUNK_ROWS):
            chunk = values[first : first + _CHUNK_ROWS]
            self._quantize_chunk(slice(target.start + first, target.start + first + len(chunk)), chunk)

    def _quantize_chunk(self, target: slice, values: AnyArray) -> None:
        work_dtype: np.dtype[Any] = np.dtype(np.float32)
        with np.errstate(over="ignore"):
            is_center_exact = bool((self.center.astype(np.float32) == self.center).all())
        largest = float(np.abs(values).max(initial=0.0))
        if values.dtype == np.float64 or not is_center_exact or not 1e-30 < largest < 1e30:
            work_dtype = np.dtype(np.float64)  # in float32 errors would arise that no bound below covers
        offset = values.astype(work_dtype) - self.center.astype(work_dtype)
        missing = np.isnan(offset)
        offset[missing] = 0  # a missing value counts as the center and adds nothing to a length
        self.has_missing[target] = missing.any(axis=1)
        max_step = int(np.iinfo(self.steps.dtype).max)
        max_offset = np.abs(offset).max(axis=1, initial=0)
        self.radius[target] = max_offset * _row_lengths(offset / np.where(max_offset > 0, max_offset, 1)[:, None])
        if missing.any():
            offset[self.has_missing[target]], max_offset[self.has_missing[target]] = 0, 0  # the copy is void
        scale = np.where(max_offset > 0, max_offset / max_step, 1)
        units = offset / scale[:, None]
        steps = np.rint(units).clip(-max_step, max_step)
        self.steps[target] = steps
        # Lengths in steps, where nothing can overflow. A step has at most three roundings: the difference from the
        # center, the scale, the division; each relative to the length of the row.
        self.scale[target] = scale
        self.norm[target] = self.scale[target] * _row_lengths(steps)
        rounding_error = 4 * (_ROUNDING_F32 if work_dtype == np.float32 else _ROUNDING_F64) * self.norm[target]
        self.error_bound[target] = self.scale[target] * _row_lengths(units - steps) * (1 + 1e-5) + rounding_error

    def read_steps(self, rows: IndexArray, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """q of the rows at indices (m,), without their scale: (m, d)."""
        return np.take(self.steps, rows, axis=0).astype(dtype)

    def multiply(self, rows: IndexArray, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """q of the rows at indices (m,), without their scale, times matrixᵀ (d, r): (m, r), at least float32 accuracy."""
        product: npt.NDArray[np.float32] = self.read_steps(rows, np.float32) @ matrix.T
        return product


def _row_lengths(rows: npt.NDArray[Any]) -> FloatArray:
    """|row| (m,) of rows (m, d): float32 rows are squared and summed in float32 in parts of 64, these in float64."""
    count, dimension = rows.shape
    parts = -(-dimension // 64) if dimension else 0
    total = np.zeros(count)
    for part in range(parts):
        columns = rows[:, 64 * part : 64 * (part + 1)]
        total += np.einsum("nd,nd->n", columns, columns)
    return np.sqrt(total)
