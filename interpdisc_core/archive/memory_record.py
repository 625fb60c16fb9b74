"""Records of the memory: what a batch of images leaves behind, and the sum of several records."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np
from scipy.linalg import eigh

from interpdisc_core._types import AnyArray, FloatArray
from interpdisc_core.archive.packed_file import (
    DamagedFileError,
    decode_packed,
    encode_packed,
    read_packed_digest,
)
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.selectors.rows import BLOCK_ROWS
from interpdisc_core.storage.file_names import make_file_name, quote_name

SINGULAR_VALUE_RTOL = 1e-7
"""Directions of a scatter matrix with a singular value S of at most this times S_max are only rounding.

Sums and `eigh` leave an error of about ε · λ_max, ε = 2.2e-16, in each eigenvalue λ = S², hence of sqrt(ε) · S_max =
1.5e-8 · S_max in the S of a null direction; measured: 2e-8 to 4e-8 (d up to 4096, up to 3000 records, far from the
origin). The square of this constant, 1e-14, is 45 ε. For the items themselves the limit is `RANK_RTOL`.
"""


@dataclass(frozen=True, slots=True, eq=False)
class MemoryRecord:
    """What the memory keeps of a batch of images. Its bytes, and so its digest, include name and provenance.

    Attributes:
        name: The batch.
        count: Number of items.
        mean: Their mean (d,) float64.
        rows: The items (count, d) as they were stored, if count < d; else None.
        scatter: Σ (x − mean)(x − mean)ᵀ (d, d) float64, if count ≥ d; else None.
        made_from: What produced it, a JSON object.
    """

    name: str
    count: int
    mean: FloatArray
    rows: AnyArray | None
    scatter: FloatArray | None
    made_from: dict[str, Any]

    def __post_init__(self) -> None:
        make_file_name(self.name)
        # As JSON reads it back (tuples become lists, keys become text), so that its digest does not change.
        object.__setattr__(self, "made_from", json.loads(json.dumps(self.made_from)))

    @classmethod
    def from_rows(cls, name: str, rows: "AnyArray | Iterable[AnyArray]", made_from: dict[str, Any]) -> "MemoryRecord":
        """The record of a batch.

        Items are summed in blocks of `BLOCK_ROWS` rows in order, so the bits do not depend on how the pieces are cut.

        Args:
            name: The batch.
            rows: The items (n, d), or an iterable of pieces of them in order. n may be 0.
            made_from: What produced it, a JSON object.

        Raises:
            PlanError: If the items are not finite numbers (n, d), or if there are no pieces.
        """
        scatter_sum: ScatterSum | None = None
        for block in _iter_blocks(name, (rows,) if isinstance(rows, np.ndarray) else rows):
            scatter_sum = ScatterSum(block.shape[1]) if scatter_sum is None else scatter_sum
            scatter_sum.add_rows(block)
        if scatter_sum is None:
            raise PlanError(f"batch {name!r}: no rows were given, so their dimension is not known.")
        all_rows = scatter_sum.get_rows()
        mean = scatter_sum.mean if all_rows is None else _compute_mean(all_rows)
        return cls(name, scatter_sum.count, mean, all_rows, scatter_sum.scatter, made_from)

    @property
    def dimension(self) -> int:
        """The number d of features."""
        return len(self.mean)

    @property
    def digest(self) -> str:
        """SHA-256 of its content, with name and provenance; 64 hexadecimal digits."""
        return read_packed_digest(self._encode())

    def _encode(self) -> bytes:
        header = {"name": quote_name(self.name), "count": self.count, "made_from": self.made_from}
        arrays = {"mean": self.mean, "rows": self.rows, "scatter": self.scatter}
        return encode_packed(header, {kind: array for kind, array in arrays.items() if array is not None})

    @classmethod
    def _decode(cls, data: bytes) -> "MemoryRecord":
        header, arrays = decode_packed(data)
        name, mean = unquote(header["name"], errors="surrogatepass"), arrays["mean"]
        return cls(name, header["count"], mean, arrays.get("rows"), arrays.get("scatter"), header["made_from"])


class ScatterSum:
    """The sum of items in a fixed order: the items themselves while they are fewer than d, then a scatter matrix.

    Attributes:
        count: Number of items.
        mean: Their mean (d,) once there are d of them; until then `get_rows` has them all.
        scatter: Σ (x − mean)(x − mean)ᵀ (d, d) once there are d of them, else None.
    """

    def __init__(self, dimension: int) -> None:
        self.count, self.mean = 0, np.zeros(dimension)
        self.scatter: FloatArray | None = None
        self._pending: list[AnyArray] = []

    def get_rows(self) -> AnyArray | None:
        """The items (count, d), or None if there are d or more."""
        return None if self.scatter is not None else np.concatenate(self._pending)

    def add_rows(self, rows: AnyArray) -> None:
        """Add items (n, d)."""
        self._pending.append(rows)
        if self.scatter is not None or sum(map(len, self._pending)) >= len(self.mean):
            self._fold_pending()
        else:
            self.count += len(rows)

    def add_scatter(self, count: int, mean: FloatArray, scatter: FloatArray) -> None:
        """Add `count` items by their mean (d,) and centred scatter (d, d)."""
        self._fold_pending()
        self._merge_scatter(count, mean, scatter)

    @single_blas_thread
    def _fold_pending(self) -> None:
        """Add the pending items to the scatter matrix, in order."""
        if self.scatter is None:
            self.count, self.scatter = 0, np.zeros((len(self.mean), len(self.mean)))
        for rows in self._pending:
            if len(rows):
                mean = _compute_mean(rows)
                centered = (
                    np.ascontiguousarray(rows, dtype=np.float64) - mean
                )  # one memory layout, so that BLAS computes the same bits
                self._merge_scatter(len(rows), mean, centered.T @ centered)
        self._pending = []

    def _merge_scatter(self, count: int, mean: FloatArray, scatter: FloatArray) -> None:
        """Add a scatter matrix by the update of Chan, Golub & LeVeque (1983), which subtracts no large numbers."""
        assert self.scatter is not None
        total = self.count + count
        mean_shift = mean - self.mean
        between = math.sqrt(self.count / max(total, 1) * count) * mean_shift
        self.scatter += scatter
        self.scatter += np.outer(between, between)
        self.mean = self.mean + mean_shift * (count / max(total, 1))
        self.count = total


def _compute_mean(rows: AnyArray) -> FloatArray:
    """Mean (d,) of items (n, d), summed row by row whatever their memory layout; 0 for no items."""
    total: FloatArray = np.ascontiguousarray(rows, dtype=np.float64).sum(axis=0)
    return total / max(len(rows), 1)


@single_blas_thread
def fit_prior(scatter_sum: ScatterSum) -> Prior:
    """The prior of a sum of at least one item; see `Memory.load_horizon`. The sum is not changed."""
    rows, scatter = scatter_sum.get_rows(), scatter_sum.scatter
    if rows is not None:
        prior = Prior.from_items(np.asarray(rows, dtype=np.float64))
        mean, values, axes = prior.mean, prior.values, prior.axes
    else:
        eigenvalues, vectors = eigh(scatter, driver="evd")
        values, mean = np.sqrt(np.maximum(eigenvalues[::-1], 0)), scatter_sum.mean
        rank = int((values > SINGULAR_VALUE_RTOL * values[0]).sum())
        values, axes = values[:rank], vectors.T[::-1][:rank]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return Prior(scatter_sum.count, mean, values, axes * np.sign(largest))


def _iter_blocks(name: str, pieces: "Iterable[AnyArray]") -> Iterator[AnyArray]:
    """Rows in blocks (m, d) of `BLOCK_ROWS`, however the pieces are cut; the last may be smaller, or empty."""
    pending: list[AnyArray] = []
    for piece in pieces:
        pending.append(_check_rows(name, piece, pending[0].shape[1] if pending else None))
        if sum(map(len, pending)) >= BLOCK_ROWS:
            rows = np.concatenate(pending)
            full_rows = len(rows) // BLOCK_ROWS * BLOCK_ROWS
            yield from (rows[first : first + BLOCK_ROWS] for first in range(0, full_rows, BLOCK_ROWS))
            pending = [rows[full_rows:]]
    if pending:
        yield np.concatenate(pending)


def _check_rows(name: str, rows: AnyArray, dimension: int | None) -> AnyArray:
    """`rows` in a float type that holds them exactly.

    Raises:
        PlanError: If they are not finite numbers (n, dimension).
    """
    if rows.ndim != 2 or rows.dtype.kind not in "fiub" or rows.shape[1] != (dimension or rows.shape[1] or -1):
        expected = "d" if dimension is None else str(dimension)
        raise PlanError(f"batch {name!r}: rows must be numbers (n, {expected}), not {rows.shape} {rows.dtype}.")
    is_exact = rows.dtype.kind == "f" and rows.dtype.itemsize <= 8
    rows = rows.astype(rows.dtype.newbyteorder("=") if is_exact else np.float64, copy=False)
    if not np.isfinite(rows).all():
        raise PlanError(f"batch {name!r}: a row holds values that are not finite; leave out rows without a vector.")
    return rows


def encode_prior(key: str, prior: Prior) -> bytes:
    """A cached model as a file. key: names the horizon."""
    arrays = {"mean": prior.mean, "values": prior.values, "axes": prior.axes}
    return encode_packed({"key": key, "count": prior.count}, arrays)


def decode_prior(key: str, data: bytes) -> Prior:
    """The model in a file of the cache.

    Raises:
        DamagedFileError: If it is damaged, or of another horizon than `key` names.
    """
    header, arrays = decode_packed(data)
    if header.get("key") != key:
        raise DamagedFileError("it is not the horizon that its file name says")
    return Prior(header["count"], **arrays)
