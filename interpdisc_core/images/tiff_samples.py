"""The samples of a TIFF that GDAL gives as they are stored, to gray or RGB: white is zero, inks, palettes, opacity."""

from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import Unreadable
from interpdisc_core.images.tiff_tags import PALETTE, PHOTOMETRIC_NAMES, SEPARATED, WHITE_IS_ZERO, YCBCR, TiffPage

Array = npt.NDArray[Any]


def check_colors(page: TiffPage, dtype: str) -> None:
    """Check that samples can be converted to gray or RGB.

    Raises:
        Unreadable: If what they mean is not known here.
    """
    if page.photometric in PHOTOMETRIC_NAMES:
        raise Unreadable(f"a TIFF with colors of kind {PHOTOMETRIC_NAMES[page.photometric]}; convert it to RGB")
    if page.has_other_inks or (page.photometric == SEPARATED and dtype not in ("uint8", "uint16")):
        raise Unreadable("a TIFF of inks other than CMYK of 8 or 16 bits; convert it to RGB")
    if page.photometric == PALETTE and dtype != "uint8":
        raise Unreadable("a TIFF with a palette of more than 256 colors; convert it to RGB")
    if page.photometric == YCBCR and dtype != "uint8":
        raise Unreadable("a TIFF of YCbCr with more than 8 bits; convert it to RGB")
    if page.is_premultiplied and page.photometric not in (1, 2):
        raise Unreadable("a TIFF with premultiplied opacity that is neither gray nor RGB; convert it to RGB")


def convert_colors(page: TiffPage, values: Array, opacity: Array | None, palette: Array | None) -> tuple[Array, bool]:
    """Samples with black as the least value, not multiplied by the opacity.

    Args:
        page: Its tags.
        values: (bands, lines, samples), as stored.
        opacity: (lines, samples) float32, 0 to 1, or None.
        palette: (256, 3) uint8, or None.

    Returns:
        Gray or RGB (bands, lines, samples), and whether they are for a display.
    """
    if palette is not None:
        return palette[values[0]].transpose(2, 0, 1), True
    if page.photometric == SEPARATED:
        full = int(np.iinfo(values.dtype).max)
        paper = full - values.astype(np.uint32)
        return ((paper[:3] * paper[3:] + full // 2) // full).astype(values.dtype), True
    if page.photometric == WHITE_IS_ZERO:
        return _invert(values, page.bits), False
    if page.is_premultiplied and opacity is not None:
        return _unpremultiply(values, opacity), False
    return values, False


def _invert(values: Array, bits: int) -> Array:
    if values.dtype.kind == "f":
        return -values
    if values.dtype.kind == "i":
        return ~values
    full = min(2**bits - 1, int(np.iinfo(values.dtype).max))
    return np.where(values > full, 0, full - values).astype(values.dtype)


def _unpremultiply(values: Array, opacity: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        straight = np.where(opacity > 0, values / opacity.astype(np.float64), 0)
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        straight = np.rint(straight).clip(limits.min, limits.max)
    return straight.astype(values.dtype)
