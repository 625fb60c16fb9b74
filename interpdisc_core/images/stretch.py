"""Contrast stretch: from a sensor's values to the 8-bit, display-like values that networks were trained on.

Linear values of 12 or 16 bits lie mostly in the dark. The square root brings them near to what a camera's companding
or a display's gamma does, so that a scene looks the same in each of its products.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core._types import AnyArray

LOW_PERCENTILE, HIGH_PERCENTILE = 0.1, 99.9
"""Percentiles of the valid values that become black and white, for values without a full scale."""
_MAX_SAMPLES = 4_000_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """A map from values to 0..255.

    Args:
        black: This value and lower ones become 0.
        white: This value and higher ones become 255.
        use_sqrt: Whether the fraction between the two goes through a square root.

    Example:
        >>> Stretch(0, 4095, use_sqrt=True)(np.array([0, 1024, 4095])).tolist()
        [0, 128, 255]
    """

    black: float
    white: float
    use_sqrt: bool

    def __call__(self, values: AnyArray) -> npt.NDArray[np.uint8]:
        """Values of any shape and real dtype to uint8 of that shape, rounded; values that are not finite become 0."""
        if values.dtype.kind in "iu" and values.dtype.itemsize <= 2 and values.size > 2**17:
            unsigned = np.dtype(f"u{values.dtype.itemsize}")
            all_values = np.arange(2 ** (8 * values.dtype.itemsize)).astype(unsigned).view(values.dtype)
            table: npt.NDArray[np.uint8] = self(all_values)
            levels: npt.NDArray[np.uint8] = table[np.ascontiguousarray(values).view(unsigned)]
            return levels
        real_type = np.dtype(np.float64 if values.dtype.itemsize > 4 else np.float32).type
        with np.errstate(over="ignore", invalid="ignore"):
            fraction = (values.astype(real_type) - real_type(self.black)) / real_type(
                max(self.white - self.black, 1e-30)
            )
        fraction[~np.isfinite(fraction)] = 0.0
        np.clip(fraction, 0.0, 1.0, out=fraction)
        if self.use_sqrt:
            np.sqrt(fraction, out=fraction)
        return np.rint(fraction * real_type(255.0)).astype(np.uint8)


def fit_linear_stretch(
    values: AnyArray, valid: npt.NDArray[np.bool_] | None = None, full_scale: int | None = None
) -> Stretch:
    """The stretch of an image of linear values: sqrt((v - black) / (white - black)).

    Integers of 8 bits keep their steps, without the root. Integers of 16 bits: black is 0, or the least valid value if
    that is negative; white is the first of `full_scale`, 4095 and 65535 that no value exceeds. Wider integers and
    reals: percentiles 0.1 and 99.9 of the valid values (of about 4 million at most, evenly spaced).

    Args:
        values: (...) integers or reals.
        valid: Of the same shape; False where nothing was measured.
        full_scale: Greatest value by the image's label.
    """
    step = max(values.size // _MAX_SAMPLES, 1)
    if values.dtype.kind in "iu":
        valid_values = values if valid is None else values[valid]
        minimum, maximum = (int(valid_values.min()), int(valid_values.max())) if valid_values.size else (0, 0)
        black = min(minimum, 0)
        if values.dtype.itemsize == 1:
            return Stretch(black, black + 255, use_sqrt=False)
        span = maximum - black
        if span <= 65535:
            scales = (*([full_scale] if full_scale else []), 4095, 65535)
            return Stretch(black, black + next(scale for scale in scales if span <= scale), use_sqrt=True)
    flat = values.reshape(-1)[::step]
    is_usable = np.isfinite(flat) if valid is None else np.isfinite(flat) & valid.reshape(-1)[::step]
    if not is_usable.any():
        return Stretch(0.0, 1.0, use_sqrt=True)
    low, high = np.percentile(flat[is_usable].astype(np.float64), (LOW_PERCENTILE, HIGH_PERCENTILE))
    return Stretch(float(low), float(high), use_sqrt=True)


DISPLAY_STRETCH = Stretch(0.0, 65535.0, use_sqrt=False)
"""For 16-bit values that are display values already: divided by 257."""


def is_display_referred(header: Mapping[Any, Any]) -> bool:
    """Whether 16-bit values are display values, by their file's header: it has a profile, or a gamma other than 1."""
    gamma = header.get("gamma")
    has_gamma = isinstance(gamma, int | float) and abs(gamma - 1) > 0.01
    return bool(header.get("icc_profile")) or "srgb" in header or has_gamma
