"""From a sensor's values to the 8-bit, display-like values that networks were trained on.

Linear values of 12 or 16 bits lie mostly in the dark; the square root brings them near to what a camera's companding
or a display's gamma does. So a scene looks alike however it came down.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]

LOW, HIGH = 0.1, 99.9
"""Percentiles of valid values that become black and white, where values have no full scale of their own."""
_SAMPLE = 4_000_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """How values become 0..255: `black` and what is below is 0, `white` and what is above 255; by square root or not."""

    black: float
    white: float
    root: bool

    def __call__(self, values: Values) -> npt.NDArray[np.uint8]:
        """Values of any shape and real dtype to uint8 of that shape, rounded; what is not finite becomes 0."""
        if values.dtype.kind in "iu" and values.dtype.itemsize <= 2 and values.size > 2**17:
            unsigned = np.dtype(f"u{values.dtype.itemsize}")
            every = np.arange(2 ** (8 * values.dtype.itemsize)).astype(unsigned).view(values.dtype)
            table: npt.NDArray[np.uint8] = self(every)
            looked_up: npt.NDArray[np.uint8] = table[np.ascontiguousarray(values).view(unsigned)]
            return looked_up
        work = np.dtype(np.float64 if values.dtype.itemsize > 4 else np.float32).type
        with np.errstate(over="ignore", invalid="ignore"):
            share = (values.astype(work) - work(self.black)) / work(max(self.white - self.black, 1e-30))
        share[~np.isfinite(share)] = 0.0
        np.clip(share, 0.0, 1.0, out=share)
        if self.root:
            np.sqrt(share, out=share)
        levels: npt.NDArray[np.uint8] = np.rint(share * work(255.0)).astype(np.uint8)
        return levels


def linear(values: Values, valid: npt.NDArray[np.bool_] | None = None, full: int | None = None) -> Stretch:
    """The stretch of an image of linear values: sqrt((v - black) / (white - black)).

    values: (...) integers or reals; valid: same shape, False where a value means that nothing was measured. full:
    full scale that the label gives. Integers: black is 0, or the least valid value where that is negative; white is
    `full`, or 4095 where no value is above it, or 65535. Wider integers and reals: percentiles 0.1 and 99.9 of the
    valid values (of at most about 4 million, evenly taken). Integers of 8 bits keep their steps, without the root.
    """
    step = max(values.size // _SAMPLE, 1)
    if values.dtype.kind in "iu":
        used = values if valid is None else values[valid]
        least, most = (int(used.min()), int(used.max())) if used.size else (0, 0)
        black = min(least, 0)
        if values.dtype.itemsize == 1:
            return Stretch(black, black + 255, root=False)
        span = most - black
        if span <= 65535:
            scales = (*([full] if full else []), 4095, 65535)
            return Stretch(black, black + next(scale for scale in scales if span <= scale), root=True)
    flat = values.reshape(-1)[::step]
    kept = np.isfinite(flat) if valid is None else np.isfinite(flat) & valid.reshape(-1)[::step]
    if not kept.any():
        return Stretch(0.0, 1.0, root=True)
    low, high = np.percentile(flat[kept].astype(np.float64), (LOW, HIGH))
    return Stretch(float(low), float(high), root=True)


DISPLAY = Stretch(0.0, 65535.0, root=False)
"""Of 16-bit values that are display values already (a file with a gamma, sRGB or ICC profile): divided by 257."""
