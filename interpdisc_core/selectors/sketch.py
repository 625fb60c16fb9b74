"""A small copy of feature rows in fixed point, and how far it can be from them.

A row x is kept as 16-bit (or 8-bit) integers q and one scale s, so that x = c + s·q + e with |e| ≤ `error`: a bound
that holds for the very numbers that are stored, rounding included. An int16 copy of real features is within 2e-4 of
|x − c|. What a copy leaves open is decided on the rows themselves.
"""

import tempfile
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.selectors.rows import Features, Floats, Index

Bits = Literal[8, 16]
_FEW = 128
"""Rows that are copied together: what is made of them on the way stays in the processor's cache."""
_F32 = float(np.finfo(np.float32).eps) / 2  # the rounding of one float32 operation
_F64 = float(np.finfo(np.float64).eps) / 2


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike, scratch: bool) -> npt.NDArray[Any]:
    """An array in memory, or in a nameless file of the system's folder for such, which goes when the array does."""
    if not scratch or 0 in shape:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


@dataclass
class Sketch:
    """Fixed-point copies of n rows about `centre` (d,), which float32 holds exactly.

    whole (n, d) int16 or int8; scale (n,); size (n,) |s·q|; error (n,) ≥ |x − c − s·q|; reach (n,) |x − c|, to six
    digits, whatever the copy is of. ragged (n,): rows with missing values, whose copy is void.
    """

    centre: Floats
    whole: npt.NDArray[Any]
    scale: Floats
    size: Floats
    error: Floats
    reach: Floats
    ragged: npt.NDArray[np.bool_]

    @classmethod
    def room(cls, count: int, centre: Floats, bits: Bits, scratch: bool) -> "Sketch":
        """Space for `count` rows."""
        kind = np.int16 if bits == 16 else np.int8
        whole = empty((count, len(centre)), kind, scratch)
        scale, size, error, reach = np.zeros((4, count))
        return cls(centre, whole, scale, size, error, reach, np.zeros(count, dtype=bool))

    def put(self, at: slice, values: Features) -> None:
        """Copy rows (m, d) of any float type to places `at`."""
        for first in range(0, len(values), _FEW):
            some = values[first : first + _FEW]
            self._put(slice(at.start + first, at.start + first + len(some)), some)

    def _put(self, at: slice, values: Features) -> None:
        wide: np.dtype[Any] = np.dtype(np.float32)
        exact = bool((self.centre.astype(np.float32) == self.centre).all())
        largest = float(np.abs(values).max(initial=0.0))
        if values.dtype == np.float64 or not exact or not 1e-30 < largest < 1e30:
            wide = np.dtype(np.float64)  # float32 would lose what no bound below knows of
        offset = values.astype(wide) - self.centre.astype(wide)
        missing = np.isnan(offset)
        offset[missing] = 0  # as near as can be: what is missing adds nothing to a length
        self.ragged[at] = missing.any(axis=1)
        most = int(np.iinfo(self.whole.dtype).max)
        reach = np.abs(offset).max(axis=1, initial=0)
        self.reach[at] = reach * _length(offset / np.where(reach > 0, reach, 1)[:, None])
        if missing.any():
            offset[self.ragged[at]], reach[self.ragged[at]] = 0, 0  # the copy is void
        scale = np.where(reach > 0, reach / most, 1)
        units = offset / scale[:, None]
        steps = np.rint(units).clip(-most, most)
        self.whole[at] = steps
        # Lengths in steps, where nothing can overflow. A step holds three roundings at most: the difference from the
        # centre, the scale, the division; each in parts of what the row is long.
        self.scale[at] = scale
        self.size[at] = self.scale[at] * _length(steps)
        lost = 4 * (_F32 if wide == np.float32 else _F64) * self.size[at]
        self.error[at] = self.scale[at] * _length(units - steps) * (1 + 1e-5) + lost

    def about(self, rows: Index, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """q of rows by number (m,), without their scale: (m, d)."""
        return np.take(self.whole, rows, axis=0).astype(dtype)

    def product(self, rows: Index, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """q of rows by number (m,), without their scale, times matrixᵀ (d, r): (m, r), no less exact than float32."""
        found: npt.NDArray[np.float32] = self.about(rows, np.float32) @ matrix.T
        return found


def _length(rows: npt.NDArray[Any]) -> Floats:
    """|row| (m,) of rows (m, d): float32 rows are squared in float32 and summed in parts of 64, then in float64."""
    count, dimension = rows.shape
    parts = -(-dimension // 64) if dimension else 0
    total = np.zeros(count)
    for part in range(parts):
        some = rows[:, 64 * part : 64 * (part + 1)]
        total += np.einsum("nd,nd->n", some, some)
    return np.sqrt(total)
