"""Scaling and cropping of pictures."""

import numpy as np
from PIL import Image

from interpdisc_core._types import PixelArray


def shrink_to_fit(pixels: PixelArray, side: int) -> PixelArray:
    """A picture (h, w, 3) uint8 with at most `side` pixels on its long side; a smaller one keeps its size."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def crop_center_square(pixels: PixelArray, *, crop: int, short_side: int) -> PixelArray:
    """The central square of an image (h, w, 3) uint8, as a network takes it: (crop, crop, 3) uint8.

    The short side is resized to `short_side` pixels (bicubic, antialiased) and the central `crop` x `crop` pixels are
    cut out. Of a strip longer than 8:1 only the middle is resized: a 1 x 60,000 strip must not cost a gigabyte.

    Example:
        >>> crop_center_square(np.zeros((480, 640, 3), np.uint8), crop=224, short_side=256).shape
        (224, 224, 3)
    """
    height, width = pixels.shape[:2]
    max_length = 8 * min(width, height)
    left, top = max(width - max_length, 0) // 2, max(height - max_length, 0) // 2
    middle = pixels[top : top + max_length, left : left + max_length]
    resized_width, resized_height = _scale_short_side(middle.shape[1], middle.shape[0], short_side)
    image = Image.fromarray(middle).resize((resized_width, resized_height), Image.Resampling.BICUBIC)
    x, y = (resized_width - crop) // 2, (resized_height - crop) // 2
    return np.asarray(image.crop((x, y, x + crop, y + crop)))


def _scale_short_side(width: int, height: int, short: int) -> tuple[int, int]:
    scale = short / min(width, height)
    return max(round(width * scale), short), max(round(height * scale), short)


def compute_crop_window(width: int, height: int, *, crop: int, short_side: int) -> tuple[float, float, float, float]:
    """The part (left, top, right, bottom; pixels) of a `width` x `height` image that `crop_center_square` shows."""
    side = min(width, height) * crop / short_side
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def resize_lanczos(image: PixelArray, size: int) -> PixelArray:
    """An image (h, w, 3) uint8 resized to (size, size, 3) by an antialiased filter; its aspect is not kept."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))
