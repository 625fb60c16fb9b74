"""A range of rows and bounds of their scores: which of them can be the next pick, hardly reading any.

Every row has a fixed-point copy (`quantized_rows`) and its coordinates p in the model under which it was last screened:
x = μ_s + U_sᵀp + e with e ⊥ U_s, so that for any later model, without reading x,

    score(x) ≤ D + 2 √D' |e| + |e|²,    D = |g|², g = (I − P)(μ_s + U_sᵀp − μ), D' = |g's part orthogonal to U_s|².

(The triangle inequality alone gives (√D + |e|)², but g is nearly orthogonal to e: what a model gives up lies in U_s.)
D and D' are quadratic forms in p of k + 1 variables. Rows are screened, i.e. bounded by their copies, in falling order of
these bounds, until no other can win. Every number below is an upper or a lower bound, rounding included; the winner is
decided elsewhere, by the rows themselves.

An epoch is a set of rows screened under the same model; its number is that of the query. −1: never screened.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from interpdisc_core._types import AnyArray, FloatArray, IndexArray
from interpdisc_core.selectors.decision import ScoreFunction, Subspace
from interpdisc_core.selectors.exact.bound_form import BoundForm
from interpdisc_core.selectors.exact.device import allocate_quantized
from interpdisc_core.selectors.exact.quantized_rows import CopyBits
from interpdisc_core.selectors.exact.shard_messages import ScoreQuery, ShardCandidates, ShardCounters
from interpdisc_core.selectors.rows import Rows, gather_float64

_F32, _F64 = (float(np.finfo(kind).eps) / 2 for kind in (np.float32, np.float64))
_FIRST_ROWS = 64
"""Rows screened first, for a score that the others must reach."""
_GROUP_ROWS = 1024
"""Rows screened at a time."""
_MAX_CANDIDATES = 16
"""Number of candidates above which the rows themselves are read and compared here, many at a time."""
_NEW_EPOCH_SHARE = 0.05
"""Share of the rows from which those screened for one pick become a new epoch."""
_REFRESH_RATIO = 2.0
"""Rows screened since the last refresh, relative to all rows, at which all are screened again."""


@dataclass
class _ScreenedRows:
    """Rows screened for the present pick, with their coordinates and bounds; one entry of each list per group."""

    rows: list[IndexArray] = field(default_factory=list)
    coordinates: list[npt.NDArray[np.float32]] = field(default_factory=list)
    residual_bounds: list[FloatArray] = field(default_factory=list)
    slack: list[FloatArray] = field(default_factory=list)


class RowShard:
    """Rows [start, stop) of `rows`. Inside, indices count within the shard; arguments and results count all rows."""

    def __init__(
        self,
        rows: Rows,
        start: int,
        stop: int,
        center: FloatArray,
        rank: int,
        score_function: ScoreFunction,
        copy_bits: CopyBits,
        in_file: bool,
        device: str = "cpu",
    ) -> None:
        count = stop - start
        self.rows, self.start, self.stop, self.score_function = rows, start, stop, score_function
        self.copies = allocate_quantized(count, center, copy_bits, in_file, device)
        self.counters = ShardCounters(copy_bytes=self.copies.steps.nbytes)
        self.is_free = np.ones(count, dtype=bool)
        self.epoch = np.full(count, -1, dtype=np.int32)
        self.coordinates = np.zeros((count, rank), dtype=np.float32)
        self.coordinate_norms, self.slack = np.zeros(count), np.zeros(count)
        self.residual_bounds, self.upper_bounds = np.full(count, np.inf), np.full(count, np.inf)
        self.screened_since_refresh, self.unit, self._tie_width = 0, 0.0, 0.0
        self._screened = _ScreenedRows()
        self._query = ScoreQuery(-1, Subspace(center, np.empty((0, len(center)))), {}, 0.0)

    def copy_rows(self, target: slice, values: AnyArray) -> None:
        """Quantize rows (m, d) at the slice `target` of all rows."""
        self.copies.quantize(slice(target.start - self.start, target.stop - self.start), values)

    @property
    def max_radius(self) -> float:
        """The largest |x − c| of all rows, to six digits, with the same bits for copies of any width."""
        return float(self.copies.radius.max(initial=0.0))

    def _choose_unit(self) -> float:
        """The unit of all lengths in the shard: a power of 2 near their size, so that float32 holds their squares."""
        max_radius = self.max_radius
        return float(np.exp2(np.frexp(max_radius)[1])) if 0 < max_radius < np.inf else 1.0

    @property
    def epochs(self) -> set[int]:
        """The epochs of free rows."""
        return set((np.flatnonzero(np.bincount(self.epoch[self.is_free] + 1)) - 1).tolist()) - {-1}

    def drop_row(self, row: int) -> None:
        """Mark a row as taken. Raises ValueError if it was taken before."""
        if not self.is_free[row - self.start]:
            raise ValueError(f"row {row} was already taken")
        self.is_free[row - self.start] = False

    def begin_query(self, query: ScoreQuery) -> float:
        """Begin a pick: bound every row, screen the most promising ones; returns a score that some row surely has."""
        self._query, self._screened = query, _ScreenedRows()
        self.unit = self.unit or self._choose_unit()
        self._tie_width = query.tie_width / self.unit**2
        self._update_bounds()
        if not self.is_free.any():
            return -np.inf
        count = min(_FIRST_ROWS, len(self.upper_bounds))
        first = np.argpartition(-self.upper_bounds, count - 1)[:count]
        self._lower_bounds, self._upper_bounds = np.full(len(self.upper_bounds), -np.inf), self.upper_bounds.copy()
        self._is_screened = np.zeros(len(self.upper_bounds), dtype=bool)
        return self._screen_rows(first[self.is_free[first]]) * self.unit**2

    def finish_query(self, score_floor: float) -> ShardCandidates:
        """Screen every row that can reach `score_floor`, a score that some row of all shards surely has."""
        if not self.is_free.any():
            return ShardCandidates([], [], -np.inf, set())
        score_floor = max(score_floor / self.unit**2, float(self._lower_bounds.max(initial=-np.inf)))
        for group in self._iter_promising(score_floor):
            reachable = group[self.upper_bounds[group] >= score_floor - self._tie_width]
            if not len(reachable):
                break
            score_floor = max(score_floor, self._screen_rows(reachable))
        self._update_epochs()
        candidates = self._find_candidates(score_floor)
        if self.score_function.is_plain:
            for group in _split_rows(candidates, _GROUP_ROWS):
                self._bound_by_copies(group)
            score_floor = max(score_floor, float(self._lower_bounds.max()))
            candidates = self._find_candidates(score_floor)
        if len(candidates) > _MAX_CANDIDATES or self.copies.has_missing[candidates].any():
            candidates, score_floor = self._read_candidates(candidates, score_floor)
        square = self.unit**2
        return ShardCandidates(
            (candidates + self.start).tolist(),
            (self._upper_bounds[candidates] * square).tolist(),
            score_floor * square,
            self.epochs,
        )

    def _update_bounds(self) -> None:
        """Carry the bounds of all rows to the present model."""
        live_epochs = self.epochs
        for epoch in live_epochs:
            bound_form = self._query.bound_forms[epoch]
            rows: IndexArray | slice
            if len(live_epochs) == 1 and not (self.epoch == -1).any():
                groups: Iterator[IndexArray | slice] = _iter_slices(len(self.upper_bounds))
            else:
                groups = iter(_split_rows(np.flatnonzero(self.epoch == epoch), 8192))
            for rows in groups:
                self.upper_bounds[rows] = self._compute_bounds(bound_form, rows)
        self.counters.bounds_evaluated += int(self.is_free.sum())
        if not self.score_function.is_plain:
            self.upper_bounds *= self.score_function.max_gain**2
        self.upper_bounds[self.epoch == -1] = np.inf
        self.upper_bounds[self.copies.has_missing] = np.inf
        self.upper_bounds[~self.is_free] = -np.inf

    def _compute_bounds(self, bound_form: BoundForm, rows: "IndexArray | slice") -> FloatArray:
        coordinates, residual_bounds, slack = self.coordinates[rows], self.residual_bounds[rows], self.slack[rows]
        used, mean_distance = len(bound_form.factor) - 1, np.float32(bound_form.mean_distance / self.unit)
        length = np.sqrt(self.coordinate_norms[rows] ** 2 + float(mean_distance) ** 2)
        inside = coordinates[:, :used] @ bound_form.factor[:used] + mean_distance * bound_form.factor[used]
        orthogonal = (
            coordinates[:, :used] @ bound_form.orthogonal_factor[:used]
            + mean_distance * bound_form.orthogonal_factor[used]
        )
        d = np.sqrt(np.einsum("nr,nr->n", inside, inside)) + bound_form.slack * length
        d_orthogonal = np.minimum(
            np.sqrt(np.einsum("nr,nr->n", orthogonal, orthogonal)) + bound_form.orthogonal_slack * length, d
        )
        upper_bounds: FloatArray = (
            d * d + 2 * d_orthogonal * residual_bounds + 2 * d * slack + residual_bounds * residual_bounds
        ) * (1 + 4 * (used + 16) * _F32)
        return upper_bounds

    def _iter_promising(self, floor: float) -> Iterator[IndexArray]:
        """Groups of rows not screened yet that can reach `floor` or be tied with it, by falling bounds."""
        rows = np.flatnonzero((self.upper_bounds >= floor - self._tie_width) & self.is_free & ~self._is_screened)
        return iter(_split_rows(rows[np.argsort(-self.upper_bounds[rows], kind="stable")], _GROUP_ROWS))

    def _find_candidates(self, floor: float) -> IndexArray:
        candidates = np.flatnonzero(self._is_screened & (self._upper_bounds >= floor - self._tie_width))
        return candidates[np.argsort(-self._upper_bounds[candidates], kind="stable")]

    def _screen_rows(self, rows: IndexArray) -> float:
        """Bound the scores of rows by their copies; returns a score that one of them surely has."""
        self._is_screened[rows] = True
        has_missing = self.copies.has_missing[rows]
        if has_missing.any():  # they have no copies
            self._lower_bounds[rows[has_missing]], self._upper_bounds[rows[has_missing]] = -np.inf, np.inf
            rows = rows[~has_missing]
        if not len(rows):
            return -np.inf
        self.counters.rows_screened += len(rows)
        if self.score_function.is_plain:
            lower, upper = self._bound_by_product(rows)
            self._lower_bounds[rows], self._upper_bounds[rows] = lower, upper
        else:
            self._bound_by_copies(rows, remember=True)
        return float(self._lower_bounds[rows].max())

    def _bound_by_product(self, rows: IndexArray) -> tuple[FloatArray, FloatArray]:
        """Bounds (m,) of plain scores, by one product in float32; records the rows' coordinates."""
        model, copies = self._query.model, self.copies
        q, d = model.axes.shape
        offset = (model.mean - copies.center) / self.unit
        away = float(np.linalg.norm(offset))
        towards = offset / away if away > 0 else offset
        product = copies.multiply(rows, np.vstack([model.axes, towards]).astype(np.float32))
        scale, size, error = (part[rows] / self.unit for part in (copies.scale, copies.norm, copies.error_bound))
        coordinates = product[:, :q] * scale[:, None].astype(np.float32) - (model.axes @ offset).astype(np.float32)
        within = np.einsum("nq,nq->n", coordinates, coordinates).astype(np.float64)
        estimate = size**2 - 2 * away * scale * product[:, q] + away**2 - within
        # A product of n terms is off by at most n roundings of |a||b| (Higham 2002, 3.1), in whatever order it is summed.
        unit, max_norm = (d + q + 16) * _F32, size + away
        error_bound = (2 * np.sqrt(q) + 6) * unit * max_norm**2
        self._record_screened(
            rows, coordinates, np.maximum(estimate, 0) + error_bound, np.sqrt(q) * unit * max_norm, error
        )
        upper = (np.sqrt(np.maximum(estimate + error_bound, 0)) + error) ** 2 * (1 + 1e-12)
        lower = np.maximum(np.sqrt(np.maximum(estimate - error_bound, 0)) - error, 0) ** 2 * (1 - 1e-12)
        return lower, upper

    def _bound_by_copies(self, rows: IndexArray, remember: bool = False) -> None:
        """Bound the scores of rows by the residuals of their copies, in float64."""
        rows = rows[~self.copies.has_missing[rows]]
        model, copies = self._query.model, self.copies
        scale, error = copies.scale[rows] / self.unit, copies.error_bound[rows] / self.unit
        z = copies.read_steps(rows, np.float64) * scale[:, None] - (model.mean - copies.center) / self.unit
        self._set_bounds(rows, z, error, remember)

    def _bound_by_rows(self, rows: IndexArray) -> None:
        """Bound the scores of rows by reading them."""
        x = gather_float64(self.rows, rows + self.start)
        model = self._query.model
        missing = np.isnan(x)
        z = np.where(missing, 0.0, x - model.mean) / self.unit  # a missing value has no residual
        size = np.sqrt(np.einsum("nd,nd->n", z, z)) + 2 * float(np.linalg.norm(model.mean / self.unit))
        self.counters.rows_read += len(rows)
        self._set_bounds(rows, z, 4 * _F64 * size, remember=True, missing=missing)

    def _set_bounds(
        self,
        rows: IndexArray,
        z: FloatArray,
        error: FloatArray,
        remember: bool,
        missing: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Bounds from z = x − μ (m, d) in the shard's unit, each row within `error` (m,) of the true one."""
        model = self._query.model
        q, d = model.axes.shape
        coordinates = z @ model.axes.T
        residual = z - coordinates @ model.axes
        if missing is not None:
            residual[missing] = 0.0
        norm = np.sqrt(np.einsum("nd,nd->n", z, z))
        error_bound = error + (4 * (d + 8) * np.sqrt(q + 1) * _F64 + 1e-11) * norm
        residual_norm = np.sqrt(np.einsum("nd,nd->n", residual, residual))
        score = residual_norm if self.score_function.is_plain else np.sqrt(self.score_function.score(residual))
        self._upper_bounds[rows] = (score + self.score_function.max_gain * error_bound) ** 2
        self._lower_bounds[rows] = np.maximum(score - self.score_function.max_gain * error_bound, 0) ** 2
        if remember:
            self._record_screened(
                rows,
                coordinates.astype(np.float32),
                (residual_norm + error_bound) ** 2,
                4 * _F32 * np.sqrt(q + 1) * norm,
                error,
            )

    def _read_candidates(self, candidates: IndexArray, floor: float) -> tuple[IndexArray, float]:
        """Read candidates by falling bounds, until none can reach the scores that those read surely have."""
        for group in _split_rows(candidates, 256):
            group = group[self._upper_bounds[group] >= floor - self._tie_width]
            if not len(group):
                break
            self._bound_by_rows(group)
            floor = max(floor, float(self._lower_bounds[group].max()))
        return self._find_candidates(floor), floor

    def _record_screened(
        self,
        rows: IndexArray,
        coordinates: npt.NDArray[np.float32],
        residual_squares: FloatArray,
        slack: FloatArray,
        error: FloatArray,
    ) -> None:
        """residual_squares: at least |e|² of the copies; slack: error of the coordinates; error: of the copies (m,)."""
        screened = self._screened
        screened.rows.append(rows)
        screened.coordinates.append(coordinates)
        screened.residual_bounds.append((np.sqrt(residual_squares) + slack + error) * (1 + 1e-6))
        screened.slack.append(slack + error)

    def _update_epochs(self) -> None:
        """Make the screened rows an epoch if they are many; screen all rows if that has become cheaper."""
        count = len(self.upper_bounds)
        screened_count = sum(len(rows) for rows in self._screened.rows)
        self.screened_since_refresh += screened_count
        if self.screened_since_refresh >= _REFRESH_RATIO * count and screened_count < count:
            others = np.flatnonzero(self.is_free & ~self._is_screened & ~self.copies.has_missing)
            for group in _split_rows(others, _GROUP_ROWS):
                self._screen_rows(group)
            self.screened_since_refresh = 0
            self.counters.refreshed += 1
        elif screened_count < _NEW_EPOCH_SHARE * count:
            return
        screened, q = self._screened, len(self._query.model.axes)
        if q > self.coordinates.shape[1]:
            self.coordinates = np.pad(self.coordinates, [(0, 0), (0, q - self.coordinates.shape[1])])
        for rows, coordinates, residual_bounds, slack in zip(
            screened.rows, screened.coordinates, screened.residual_bounds, screened.slack, strict=True
        ):
            self.coordinates[rows, :q], self.coordinates[rows, q:] = coordinates, 0
            self.coordinate_norms[rows] = np.sqrt(np.einsum("nq,nq->n", coordinates, coordinates)) * (
                1 + (q + 8) * _F32
            )
            self.residual_bounds[rows], self.slack[rows], self.epoch[rows] = residual_bounds, slack, self._query.number


def _split_rows(rows: IndexArray, size: int) -> Sequence[IndexArray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _iter_slices(count: int) -> Iterator[slice]:
    return (slice(start, min(start + 8192, count)) for start in range(0, count, 8192))
