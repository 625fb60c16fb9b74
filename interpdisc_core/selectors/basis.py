"""The growing span of what was seen: an orthonormal basis around an origin, in whose coordinates models are small."""

import numpy as np

from interpdisc_core.selectors.choice import Floats

_EPS = float(np.finfo(np.float64).eps)


class Basis:
    """origin (d,); axes (t, d) orthonormal, of which there is room for more."""

    def __init__(self, origin: Floats, axes: Floats) -> None:
        self.origin, self._count = origin, len(axes)
        self._room = axes

    @property
    def axes(self) -> Floats:
        """(t, d)."""
        return self._room[: self._count]

    def include(self, x: Floats, null: float) -> Floats:
        """Extend the span so that it holds x (d,); returns x's coordinates (t,), t being the new rank.

        What of x lies outside the span is dropped where its length is at most `null`.
        """
        z = x - self.origin
        inside = self.axes @ z
        new = z - self.axes.T @ inside
        again = self.axes @ new  # twice is enough (Kahan, Parlett)
        new -= self.axes.T @ again
        length = float(np.sqrt(new @ new))
        inside = inside + again
        if length <= null or length <= 4 * _EPS * float(np.sqrt(z @ z)):
            return inside
        if self._count == len(self._room):
            room = np.empty((max(2 * self._count, 16), len(z)))
            room[: self._count] = self.axes
            self._room = room
        self._room[self._count] = new / length
        self._count += 1
        return np.append(inside, length)
