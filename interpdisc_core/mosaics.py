"""Bayer mosaics to colour: each pixel saw one colour, the other two come from its neighbours.

The linear filters of H. S. Malvar, L. He, R. Cutler, "High-quality linear interpolation for demosaicing of
Bayer-patterned color images", ICASSP 2004, which the rovers' own software uses too.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate

from interpdisc_core.errors import PlanError

PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")
"""Colours of the 2 x 2 pixels at the top left, row by row."""
REACH = 2
"""Rows and columns around a pixel that its colours depend on."""

_CROSS = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
"""Green at red and at blue."""
_ROW = np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]) / 8
"""At green, the colour that its row has besides; transposed, the one that its column has."""
_CORNERS = (
    np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]) / 8
)
"""Red at blue, and blue at red."""


def demosaic(values: npt.NDArray[Any], pattern: str) -> npt.NDArray[np.float32]:
    """A mosaic (h, w) of any real dtype to (h, w, 3) float32 in the same units; may be below 0 beside bright edges.

    pattern: one of PATTERNS. Raises PlanError for another.
    """
    if pattern not in PATTERNS:
        raise PlanError(f"Bayer pattern {pattern!r} is none of {', '.join(PATTERNS)}.")
    height, width = values.shape
    near = values.astype(np.float32)
    green, row, column, far = (
        correlate(near, kernel.astype(np.float32), mode="mirror") for kernel in (_CROSS, _ROW, _ROW.T, _CORNERS)
    )
    colours = np.empty((height, width, 3), dtype=np.float32)
    for place, own in enumerate(pattern):
        y, x = divmod(place, 2)
        at = np.s_[y::2, x::2]
        if own == "G":
            beside = pattern[2 * y + 1 - x]  # the other colour of this row
            red, blue = (row, column) if beside == "R" else (column, row)
            found = (red, near, blue)
        else:
            found = (near, green, far) if own == "R" else (far, green, near)
        for channel, plane in enumerate(found):
            colours[at][..., channel] = plane[at]
    return colours


def shifted(pattern: str, x: int, y: int) -> str:
    """The pattern of a part of the mosaic whose top left pixel is at column `x` and line `y`, counted from 0."""
    return "".join(pattern[2 * ((row + y) % 2) + (column + x) % 2] for row in (0, 1) for column in (0, 1))
