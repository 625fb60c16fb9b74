"""A range of rows and what is known of their scores: which of them can be the next pick, hardly reading any.

Of every row a fixed-point copy is kept (`sketch`), and its place in the model under which it was last looked at:
x = μ_s + U_sᵀp + e with e ⊥ U_s, so that for any later model, without looking at x,

    score(x) ≤ D + 2 √D' |e| + |e|²,    D = |g|², g = (I − P)(μ_s + U_sᵀp − μ), D' = |g's part orthogonal to U_s|².

(The triangle inequality alone gives (√D + |e|)², but g is nearly orthogonal to e: what a model gives up lies in U_s.)
D and D' are quadratic forms in p of k + 1 variables. Rows are looked at in falling order of their bounds, until none
can win. Every number below is an upper or a lower bound, rounding included; who wins is decided elsewhere, on the rows
themselves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpstrf

from interpdisc_core.selectors.choice import Floats, Measure, Subspace
from interpdisc_core.selectors.device import room
from interpdisc_core.selectors.rows import Features, Index, Rows, take
from interpdisc_core.selectors.sketch import Bits

_F32, _F64 = (float(np.finfo(kind).eps) / 2 for kind in (np.float32, np.float64))
_FIRST = 64
"""Rows that are looked at first, for a score that the others must reach."""
_SOME = 1024
"""Rows that are looked at together."""
_CROWD = 16
"""Contenders beyond which the rows themselves are read and compared here, many at a time."""
_NEW = 0.05
"""Part of the rows from which those looked at for one pick become an epoch of their own."""
_REFRESH = 2.0
"""Rows looked at, in parts of all, after which all are looked at."""
_SMALL = 1e-10
"""What is left out of a form, at most, in each variable; what rounding does to it is far below."""


@dataclass(frozen=True, slots=True)
class Form:
    """D and D' for the rows of one epoch, as factors: D ≤ (|(p, far)·near| + slack)². near, apart (k + 1, r) float32.

    far: |μ_s − μ|, the last variable. slack, slack_apart: of √D and √D', for each unit of |(p, far)|.
    """

    near: npt.NDArray[np.float32]
    apart: npt.NDArray[np.float32]
    far: float
    slack: float
    slack_apart: float


def form(then: Subspace, now: Subspace) -> Form:
    """The form that carries rows from model `then` to model `now`."""
    across, along_now, along_then, far = then.against(now)
    q = len(across)
    unit = 1.0 / far if far > 0 else 0.0
    whole = np.eye(q + 1)  # Gram matrix of U_s and the unit vector along μ_s − μ
    whole[q, :q] = whole[:q, q] = along_then * unit
    whole[q, q] = 1.0 if far > 0 else 0.0
    inside = np.vstack([across, along_now * unit])  # their products with U
    rest = whole - inside @ inside.T
    kept = whole[:, :q] - inside @ across.T  # what of (I − P) of them lies in U_s
    near, slack = _factor(rest)
    apart, slack_apart = _factor(rest - kept @ kept.T)
    return Form(near, apart, far, slack, slack_apart)


def _factor(square: Floats) -> tuple[npt.NDArray[np.float32], float]:
    """F (n, r) with xᵀ square x ≤ (|x F| + lost |x|)², and lost; by Cholesky with pivots, which is cheap."""
    size = len(square)
    lower, pivots, rank, _ = dpstrf(square, tol=_SMALL, lower=1)
    factor = np.zeros((size, rank))
    factor[pivots - 1] = np.tril(lower)[:, :rank]
    # What is left has no entry on its diagonal above the tolerance; and it is of differences of numbers about 1.
    lost = float(np.sqrt((size - rank) * _SMALL + 1e-11))
    # And what a product with it in float32 may be off by (Higham 2002, 3.1).
    return factor.astype(np.float32), lost + 1.1 * (size + 4) * _F32 * float(np.linalg.norm(factor)) + 1e-6


@dataclass(frozen=True, slots=True)
class Look:
    """What a shard is told for one pick: the model, and how to carry its rows there from the epochs they are of.

    tied: scores that close are tied. basis (t, d): in which the model's coordinates are, for who builds the axes.
    """

    number: int
    model: Subspace
    forms: dict[int, Form]
    tied: float
    basis: Floats | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a shard has for a pick.

    rows: those of the whole that can be its best; highs: their highest possible scores; low: a score that one surely
    has; epochs: those that the shard's rows are of by now.
    """

    rows: list[int]
    highs: list[float]
    low: float
    epochs: set[int]


@dataclass
class Counts:
    """What shards did.

    screened: rows looked at in their copies, read: as they are; bounds: evaluated; refreshed: times that all rows of
    a shard were looked at; bytes: of copies.
    """

    screened: int = 0
    read: int = 0
    bounds: int = 0
    refreshed: int = 0
    bytes: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass
class _Seen:
    """Rows looked at for the present pick, with their places and bounds."""

    rows: list[Index] = field(default_factory=list)
    place: list[npt.NDArray[np.float32]] = field(default_factory=list)
    rest: list[Floats] = field(default_factory=list)
    loose: list[Floats] = field(default_factory=list)


class Shard:
    """Rows [start, stop) of `rows`. Numbers of rows are within the shard, but for those that go in and out."""

    def __init__(
        self, rows: Rows, start: int, stop: int, centre: Floats, rank: int, measure: Measure, bits: Bits, scratch: bool,
        device: str = "cpu",
    ) -> None:  # fmt: skip
        count = stop - start
        self.rows, self.start, self.stop, self.measure = rows, start, stop, measure
        self.sketch = room(count, centre, bits, scratch, device)
        self.counts = Counts(bytes=self.sketch.whole.nbytes)
        self.free = np.ones(count, dtype=bool)
        self.epoch = np.full(count, -1, dtype=np.int32)
        self.place = np.zeros((count, rank), dtype=np.float32)
        self.length, self.rest, self.loose = np.zeros(count), np.full(count, np.inf), np.zeros(count)
        self.bound, self.since, self.unit, self._tied = np.full(count, np.inf), 0, 0.0, 0.0
        self._new, self._look = _Seen(), Look(-1, Subspace(centre, np.empty((0, len(centre)))), {}, 0.0)

    def put(self, at: slice, values: Features) -> None:
        """Take the rows' copies; `at` counts in the whole."""
        self.sketch.put(slice(at.start - self.start, at.stop - self.start), values)

    @property
    def reach(self) -> float:
        """The largest |x − c| of all rows, to six digits: the same bits whatever the copies are of."""
        return float(self.sketch.reach.max(initial=0.0))

    def _measure_out(self) -> float:
        """The unit of all lengths in here, a power of 2 about as large as they are: float32 holds their squares then."""
        reach = self.reach
        return float(np.exp2(np.frexp(reach)[1])) if 0 < reach < np.inf else 1.0

    @property
    def epochs(self) -> set[int]:
        """The epochs that rows are of."""
        return set((np.flatnonzero(np.bincount(self.epoch[self.free] + 1)) - 1).tolist()) - {-1}

    def drop(self, row: int) -> None:
        """A row of the whole is taken. Raises ValueError where it was before."""
        if not self.free[row - self.start]:
            raise ValueError(f"row {row} was already taken")
        self.free[row - self.start] = False

    def begin(self, look: Look) -> float:
        """Start on a pick: bound every row, look at the most promising ones; returns a score that one surely has."""
        self._look, self._new = look, _Seen()
        self.unit = self.unit or self._measure_out()
        self._tied = look.tied / self.unit**2
        self._carry()
        if not self.free.any():
            return -np.inf
        count = min(_FIRST, len(self.bound))
        first = np.argpartition(-self.bound, count - 1)[:count]
        self._low, self._high = np.full(len(self.bound), -np.inf), self.bound.copy()
        self._looked = np.zeros(len(self.bound), dtype=bool)
        return self._look_at(first[self.free[first]]) * self.unit**2

    def finish(self, floor: float) -> Found:
        """Look at every row that can reach `floor`, which some row of the whole surely does."""
        if not self.free.any():
            return Found([], [], -np.inf, set())
        floor = max(floor / self.unit**2, float(self._low.max(initial=-np.inf)))
        for group in self._promising(floor):
            reachable = group[self.bound[group] >= floor - self._tied]
            if not len(reachable):
                break
            floor = max(floor, self._look_at(reachable))
        self._remember()
        rivals = self._rivals(floor)
        if self.measure.plain:
            for group in _parts(rivals, _SOME):
                self._closer(group)
            floor = max(floor, float(self._low.max()))
            rivals = self._rivals(floor)
        if len(rivals) > _CROWD or self.sketch.ragged[rivals].any():
            rivals, floor = self._read_all(rivals, floor)
        square = self.unit**2
        return Found(
            (rivals + self.start).tolist(), (self._high[rivals] * square).tolist(), floor * square, self.epochs
        )

    # -- bounds ---------------------------------------------------------------------------------------------------

    def _carry(self) -> None:
        """Bounds of all rows under the present model, from where they were last looked at."""
        present = self.epochs
        for epoch in present:
            carry = self._look.forms[epoch]
            rows: Index | slice
            if len(present) == 1 and not (self.epoch == -1).any():
                groups: Iterator[Index | slice] = _slices(len(self.bound))
            else:
                groups = iter(_parts(np.flatnonzero(self.epoch == epoch), 8192))
            for rows in groups:
                self.bound[rows] = self._bound(carry, rows)
        self.counts.bounds += int(self.free.sum())
        if not self.measure.plain:
            self.bound *= self.measure.most**2
        self.bound[self.epoch == -1] = np.inf
        self.bound[self.sketch.ragged] = np.inf
        self.bound[~self.free] = -np.inf

    def _bound(self, carry: Form, rows: "Index | slice") -> Floats:
        place, rest, loose = self.place[rows], self.rest[rows], self.loose[rows]
        used, far = len(carry.near) - 1, np.float32(carry.far / self.unit)
        length = np.sqrt(self.length[rows] ** 2 + float(far) ** 2)
        near = place[:, :used] @ carry.near[:used] + far * carry.near[used]
        apart = place[:, :used] @ carry.apart[:used] + far * carry.apart[used]
        d = np.sqrt(np.einsum("nr,nr->n", near, near)) + carry.slack * length
        d_apart = np.minimum(np.sqrt(np.einsum("nr,nr->n", apart, apart)) + carry.slack_apart * length, d)
        bound: Floats = (d * d + 2 * d_apart * rest + 2 * d * loose + rest * rest) * (1 + 4 * (used + 16) * _F32)
        return bound

    # -- looking at rows ------------------------------------------------------------------------------------------

    def _promising(self, floor: float) -> Iterator[Index]:
        """Rows that can reach `floor`, or be tied with who does, and were not looked at, by falling bounds."""
        rows = np.flatnonzero((self.bound >= floor - self._tied) & self.free & ~self._looked)
        return iter(_parts(rows[np.argsort(-self.bound[rows], kind="stable")], _SOME))

    def _rivals(self, floor: float) -> Index:
        rivals = np.flatnonzero(self._looked & (self._high >= floor - self._tied))
        return rivals[np.argsort(-self._high[rivals], kind="stable")]

    def _look_at(self, rows: Index) -> float:
        """Bound the rows' scores by their copies; returns a score that one surely has."""
        self._looked[rows] = True
        ragged = self.sketch.ragged[rows]
        if ragged.any():  # their copies are void
            self._low[rows[ragged]], self._high[rows[ragged]] = -np.inf, np.inf
            rows = rows[~ragged]
        if not len(rows):
            return -np.inf
        self.counts.screened += len(rows)
        if self.measure.plain:
            low, high = self._screen(rows)
            self._low[rows], self._high[rows] = low, high
        else:
            self._closer(rows, remember=True)
        return float(self._low[rows].max())

    def _screen(self, rows: Index) -> tuple[Floats, Floats]:
        """Bounds (m,) of plain scores, from one product in float32; keeps the rows' places."""
        model, sketch = self._look.model, self.sketch
        q, d = model.axes.shape
        offset = (model.mean - sketch.centre) / self.unit
        away = float(np.linalg.norm(offset))
        towards = offset / away if away > 0 else offset
        product = sketch.product(rows, np.vstack([model.axes, towards]).astype(np.float32))
        scale, size, error = (part[rows] / self.unit for part in (sketch.scale, sketch.size, sketch.error))
        place = product[:, :q] * scale[:, None].astype(np.float32) - (model.axes @ offset).astype(np.float32)
        within = np.einsum("nq,nq->n", place, place).astype(np.float64)
        estimate = size**2 - 2 * away * scale * product[:, q] + away**2 - within
        # A product of n terms is off by at most n roundings of |a||b| (Higham 2002, 3.1), however it is summed up.
        unit, whole = (d + q + 16) * _F32, size + away
        wrong = (2 * np.sqrt(q) + 6) * unit * whole**2
        self._keep(rows, place, np.maximum(estimate, 0) + wrong, np.sqrt(q) * unit * whole, error)
        high = (np.sqrt(np.maximum(estimate + wrong, 0)) + error) ** 2 * (1 + 1e-12)
        low = np.maximum(np.sqrt(np.maximum(estimate - wrong, 0)) - error, 0) ** 2 * (1 - 1e-12)
        return low, high

    def _closer(self, rows: Index, remember: bool = False) -> None:
        """Bound the rows' scores by the residuals of their copies, in float64."""
        rows = rows[~self.sketch.ragged[rows]]
        model, sketch = self._look.model, self.sketch
        scale, error = sketch.scale[rows] / self.unit, sketch.error[rows] / self.unit
        z = sketch.about(rows, np.float64) * scale[:, None] - (model.mean - sketch.centre) / self.unit
        self._settle(rows, z, error, remember)

    def _read(self, rows: Index) -> None:
        """Bound the rows' scores by the rows themselves."""
        x = take(self.rows, rows + self.start)
        model = self._look.model
        missing = np.isnan(x)
        z = np.where(missing, 0.0, x - model.mean) / self.unit  # what is missing is as expected
        size = np.sqrt(np.einsum("nd,nd->n", z, z)) + 2 * float(np.linalg.norm(model.mean / self.unit))
        self.counts.read += len(rows)
        self._settle(rows, z, 4 * _F64 * size, remember=True, missing=missing)

    def _settle(
        self, rows: Index, z: Floats, error: Floats, remember: bool, missing: npt.NDArray[np.bool_] | None = None
    ) -> None:
        """Bounds by residuals of z = x − μ (m, d) in units, each within `error` of the true one."""
        model = self._look.model
        q, d = model.axes.shape
        place = z @ model.axes.T
        residual = z - place @ model.axes
        if missing is not None:
            residual[missing] = 0.0
        whole = np.sqrt(np.einsum("nd,nd->n", z, z))
        wrong = error + (4 * (d + 8) * np.sqrt(q + 1) * _F64 + 1e-11) * whole
        rest = np.sqrt(np.einsum("nd,nd->n", residual, residual))
        score = rest if self.measure.plain else np.sqrt(self.measure.of(residual))
        self._high[rows] = (score + self.measure.most * wrong) ** 2
        self._low[rows] = np.maximum(score - self.measure.most * wrong, 0) ** 2
        if remember:
            self._keep(rows, place.astype(np.float32), (rest + wrong) ** 2, 4 * _F32 * np.sqrt(q + 1) * whole, error)

    def _read_all(self, rivals: Index, floor: float) -> tuple[Index, float]:
        """Read rows by falling bounds until none can reach what those read surely have."""
        for group in _parts(rivals, 256):
            group = group[self._high[group] >= floor - self._tied]
            if not len(group):
                break
            self._read(group)
            floor = max(floor, float(self._low[group].max()))
        return self._rivals(floor), floor

    # -- what is remembered ---------------------------------------------------------------------------------------

    def _keep(self, rows: Index, place: npt.NDArray[np.float32], rest: Floats, loose: Floats, error: Floats) -> None:
        """rest: at least |e|² of the copy; loose: at most so far is `place` from the copy's own."""
        seen = self._new
        seen.rows.append(rows)
        seen.place.append(place)
        seen.rest.append((np.sqrt(rest) + loose + error) * (1 + 1e-6))
        seen.loose.append(loose + error)

    def _remember(self) -> None:
        """Make the rows that were looked at an epoch, where they are many; look at all where that has become cheaper."""
        count = len(self.bound)
        looked = sum(len(rows) for rows in self._new.rows)
        self.since += looked
        if self.since >= _REFRESH * count and looked < count:
            others = np.flatnonzero(self.free & ~self._looked & ~self.sketch.ragged)
            for group in _parts(others, _SOME):
                self._look_at(group)
            self.since = 0
            self.counts.refreshed += 1
        elif looked < _NEW * count:
            return
        seen, q = self._new, len(self._look.model.axes)
        if q > self.place.shape[1]:
            self.place = np.pad(self.place, [(0, 0), (0, q - self.place.shape[1])])
        for rows, place, rest, loose in zip(seen.rows, seen.place, seen.rest, seen.loose, strict=True):
            self.place[rows, :q], self.place[rows, q:] = place, 0
            self.length[rows] = np.sqrt(np.einsum("nq,nq->n", place, place)) * (1 + (q + 8) * _F32)
            self.rest[rows], self.loose[rows], self.epoch[rows] = rest, loose, self._look.number


def _parts(rows: Index, size: int) -> Sequence[Index]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, min(start + 8192, count)) for start in range(0, count, 8192))
