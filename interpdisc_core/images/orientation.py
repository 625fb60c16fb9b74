"""The EXIF orientation of an image: read also from metadata that is damaged elsewhere, and applied to pixels."""

import numpy as np
from PIL import Image

from interpdisc_core._types import PixelArray
from interpdisc_core.images import tiff_tags

_ORIENTATION_TAG = 274


def read_orientation(image: Image.Image) -> int:
    """The EXIF orientation of an opened image, 1 to 8; 1 if there is none that can be read. Never raises."""
    try:  # not by `image.getexif`, which decodes a PNG
        turn = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - damaged metadata of an intact picture may make Pillow raise anything
        exif = image.info.get("exif")
        payload = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
        return tiff_tags.read_first_page(payload).orientation
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def turn_pixels(pixels: PixelArray, orientation: int) -> PixelArray:
    """Stored pixels (h, w, 3) as they are to be shown; a transposed array for orientations 5 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
