"""Image files to pixels: what is accepted, and what is refused with which reason.

Files are hostile input. Nothing here trusts a name or a suffix; a header's size is checked before any pixel is
decoded; whatever Pillow raises becomes `Unreadable` with a reason.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from interpdisc_core.errors import Unreadable

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
MAX_PIXELS = 178_000_000
"""Above this many pixels an image is refused as a decompression bomb; Pillow's own limit is a little higher."""
MAX_BYTES = 2_000_000_000
"""Above this many bytes a file is refused unread."""
_WIDE = ("I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a header says: `format` as Pillow names it, size in pixels as stored (before EXIF rotation), mode."""

    format: str
    width: int
    height: int
    mode: str


def _open(data: bytes) -> Image.Image:
    if not data:
        raise Unreadable("empty file (zero bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise Unreadable(f"not an image that can be read (none of {', '.join(FORMATS)})") from None
    except Image.DecompressionBombError as error:
        raise Unreadable(f"decompression bomb: {_said(error).partition(', could')[0]}") from None
    except Exception as error:
        raise Unreadable(f"damaged header: {_said(error)}") from error
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(
            f"decompression bomb: {image.width} x {image.height} pixels, more than {MAX_PIXELS // 10**6} million"
        )
    if image.width < 1 or image.height < 1:
        raise Unreadable("an image without pixels")
    return image


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def identify(data: bytes) -> Facts:
    """Read a file's header, without decoding pixels. Raises Unreadable with the reason."""
    image = _open(data)
    return Facts(str(image.format), image.width, image.height, image.mode)


def decode(data: bytes, *, at_least: int | None = None) -> Pixels:
    """Decode a file's bytes into RGB pixels (h, w, 3) uint8, turned as its EXIF orientation says.

    The first frame of an animation; transparency over white; 16-bit values divided by 257 (full range to full
    range); CMYK, palette and grey converted to RGB. With `at_least`, a JPEG may be decoded at a reduced scale
    whose short side keeps at least twice that many pixels (several times faster for large photos).

    Raises Unreadable with a reason, and nothing else, for whatever bytes it is given.
    """
    image = _open(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if at_least is not None and image.format == "JPEG":
                image.draft(None, (2 * at_least, 2 * at_least))
            image.load()
            image = ImageOps.exif_transpose(image)
            return _as_rgb(image)
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable("not enough memory to decode it") from None
    except Exception as error:
        reason = _said(error)
        cut = "truncated" in reason or "broken data stream" in reason or isinstance(error, EOFError)
        raise Unreadable(f"truncated: {reason}" if cut else f"damaged: {reason}") from error


def _as_rgb(image: Image.Image) -> Pixels:
    if image.mode in _WIDE:
        wide = np.asarray(image).astype(np.float32)
        grey = np.rint(wide / 257.0).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("F", "I"):
        raise Unreadable(
            f"pixels of mode {image.mode} (floating point or 32-bit) have no agreed range; use 8 or 16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def square(pixels: Pixels, *, crop: int, of: int) -> Pixels:
    """The central square of an image, as a network takes it: (h, w, 3) -> (crop, crop, 3) uint8.

    The short side is resized to `of` pixels (bicubic, antialiased) and the central `crop` x `crop` cut out. Of a
    strip longer than 8:1 only the middle is resized: a 1 x 60,000 strip must not cost a gigabyte.
    """
    height, width = pixels.shape[:2]
    most = 8 * min(width, height)
    left, top = max(width - most, 0) // 2, max(height - most, 0) // 2
    middle = pixels[top : top + most, left : left + most]
    wide, high = _resized(middle.shape[1], middle.shape[0], of)
    image = Image.fromarray(middle).resize((wide, high), Image.Resampling.BICUBIC)
    x, y = (wide - crop) // 2, (high - crop) // 2
    return np.asarray(image.crop((x, y, x + crop, y + crop)))


def _resized(width: int, height: int, short: int) -> tuple[int, int]:
    scale = short / min(width, height)
    return max(round(width * scale), short), max(round(height * scale), short)


def window(width: int, height: int, *, crop: int, of: int) -> tuple[float, float, float, float]:
    """The part (left, top, right, bottom; pixels) of a `width` x `height` image that `square` shows."""
    side = min(width, height) * crop / of
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side
