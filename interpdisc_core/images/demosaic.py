"""Bayer mosaics to color: each pixel measured one color, the other two are interpolated from its neighbors.

The linear filters of H. S. Malvar, L. He, R. Cutler, "High-quality linear interpolation for demosaicing of
Bayer-patterned color images", ICASSP 2004, which the rovers' own software uses too. In this project "mosaic" alone
means an image put together of several frames; the pattern of color filters is the Bayer pattern.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate

from interpdisc_core.errors import PlanError

BAYER_PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")
"""Colors of the 2 x 2 pixels at the top left, row by row."""
KERNEL_RADIUS = 2
"""Rows and columns around a pixel on which its colors depend."""

_GREEN_KERNEL = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
"""Green at red and at blue."""
_ROW_KERNEL = (
    np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]) / 8
)
"""At green, the other color of its row; transposed, the other color of its column."""
_DIAGONAL_KERNEL = (
    np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]) / 8
)
"""Red at blue, and blue at red."""


def demosaic(values: npt.NDArray[Any], bayer_pattern: str) -> npt.NDArray[np.float32]:
    """Interpolate the two missing colors of each pixel.

    Args:
        values: (h, w) of any real dtype, one color each.
        bayer_pattern: One of `BAYER_PATTERNS`.

    Returns:
        (h, w, 3) float32 in the same units; may be below 0 next to bright edges.

    Raises:
        PlanError: For an unknown pattern.
    """
    if bayer_pattern not in BAYER_PATTERNS:
        raise PlanError(f"unknown Bayer pattern {bayer_pattern!r}; choose from {', '.join(BAYER_PATTERNS)}.")
    height, width = values.shape
    samples = values.astype(np.float32)
    green, row, column, diagonal = (
        correlate(samples, kernel.astype(np.float32), mode="mirror")
        for kernel in (_GREEN_KERNEL, _ROW_KERNEL, _ROW_KERNEL.T, _DIAGONAL_KERNEL)
    )
    colors = np.empty((height, width, 3), dtype=np.float32)
    for index, own_color in enumerate(bayer_pattern):
        y, x = divmod(index, 2)
        positions = np.s_[y::2, x::2]
        if own_color == "G":
            row_color = bayer_pattern[2 * y + 1 - x]  # the other color of this row
            red, blue = (row, column) if row_color == "R" else (column, row)
            planes = (red, samples, blue)
        else:
            planes = (samples, green, diagonal) if own_color == "R" else (diagonal, green, samples)
        for channel, plane in enumerate(planes):
            colors[positions][..., channel] = plane[positions]
    return colors


def shift_pattern(bayer_pattern: str, x: int, y: int) -> str:
    """The pattern of a subframe whose top left pixel is at column `x` and line `y`, counted from 0.

    Example:
        >>> shift_pattern("RGGB", 1, 0)
        'GRBG'
    """
    return "".join(bayer_pattern[2 * ((row + y) % 2) + (column + x) % 2] for row in (0, 1) for column in (0, 1))
