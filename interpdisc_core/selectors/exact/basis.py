"""The growing span of the items seen: an orthonormal basis about an origin, in whose coordinates models are small."""

import numpy as np

from interpdisc_core._types import FloatArray

_EPS = float(np.finfo(np.float64).eps)


class Basis:
    """An origin (d,) and orthonormal axes (t, d), t growing with the items."""

    def __init__(self, origin: FloatArray, axes: FloatArray) -> None:
        self.origin, self._count = origin, len(axes)
        self._buffer = axes

    @property
    def axes(self) -> FloatArray:
        """(t, d)."""
        return self._buffer[: self._count]

    def extend(self, x: FloatArray, null_length: float) -> FloatArray:
        """Extend the span to hold x (d,), and return the coordinates of x (t,), where t is the new number of axes.

        The part of x outside the span is dropped if its length is at most `null_length`.
        """
        z = x - self.origin
        coordinates = self.axes @ z
        rest = z - self.axes.T @ coordinates
        correction = self.axes @ rest  # "twice is enough" (Kahan, in Parlett 1980)
        rest -= self.axes.T @ correction
        length = float(np.sqrt(rest @ rest))
        coordinates = coordinates + correction
        if length <= null_length or length <= 4 * _EPS * float(np.sqrt(z @ z)):
            return coordinates
        if self._count == len(self._buffer):
            buffer = np.empty((max(2 * self._count, 16), len(z)))
            buffer[: self._count] = self.axes
            self._buffer = buffer
        self._buffer[self._count] = rest / length
        self._count += 1
        return np.append(coordinates, length)
