"""Image files to pixels: what is accepted, and what is refused with which reason.

Files are hostile input. Nothing here trusts a name or a suffix; a header's size is checked before any pixel is
decoded; whatever a library raises becomes `Unreadable` with a reason. Pillow reads what it can read whole; products of
science archives, and rasters beyond its 8 bits, go through `interpdisc_core.planetary`.
"""

import io
import logging
import warnings
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from interpdisc_core import headers, mosaics, planetary, stretches
from interpdisc_core.errors import Unreadable

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
MAX_PIXELS = 178_000_000
"""Above this many pixels an image is refused as a decompression bomb; Pillow's own limit is a little higher."""
MAX_BYTES = 2_000_000_000
"""Above this many bytes a file is refused unread."""
_WIDE = ("I;16", "I;16B", "I;16L", "I;16N")


_RANGELESS = ("F", "I")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)  # says of each cube that it cannot read it


@dataclass(frozen=True, slots=True)
class Facts:
    """What a header says: `format`, size in pixels as stored (before EXIF rotation), `mode`, `header`.

    format: as Pillow names it, or VICAR, PDS3, PDS4, ISIS2, ISIS3, JPEG2000. mode: as Pillow names it; of what GDAL
    reads type and bands, as `uint16x3`. header: what the file says of itself, JSON text of at most 64 kB: label, EXIF
    or TIFF tags.
    """

    format: str
    width: int
    height: int
    mode: str
    header: str = "{}"


class _Unknown(Unreadable):
    """Pillow makes nothing of it; of a TIFF, GDAL may."""


def _open(data: bytes) -> Image.Image:
    if not data:
        raise Unreadable("empty file (zero bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise _Unknown(f"not an image that can be read (none of {', '.join(FORMATS)})") from None
    except Image.DecompressionBombError as error:
        raise Unreadable(f"decompression bomb: {_said(error).partition(', could')[0]}") from None
    except Exception as error:
        raise _Unknown(f"damaged header: {_said(error)}") from error
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
    if found := _product(data):
        return _facts(*found)
    try:
        image = _open(data)
        if (kind := _beyond(image, data)) is None:
            return Facts(str(image.format), image.width, image.height, image.mode, headers.of_image(image))
    except _Unknown:
        if not data.startswith(_TIFF):
            raise
        kind = "TIFF"
    return _facts(kind, {"product": data})


def decode(data: bytes, *, at_least: int | None = None, mosaic: str = "") -> Pixels:
    """Decode a file's bytes into RGB pixels (h, w, 3) uint8, turned as its EXIF orientation says.

    The first frame of an animation; transparency over white; CMYK, palette and grey converted to RGB; of more than
    four bands the first three. Values are brought to 8 display-like bits (see `interpdisc_core.stretches`): 8 bits stay
    as they are; 12 and 16 linear bits by the square root of their share of full scale; 16 bits of a file with a gamma,
    sRGB or ICC profile divided by 257; wider ones and reals between percentiles, by the square root. What a label calls
    missing is black. With `at_least`, an image may be decoded at a reduced scale whose short side keeps at least twice
    that many pixels (several times faster for large photos). `mosaic`: the Bayer pattern of an image of one band, one
    of `interpdisc_core.mosaics.PATTERNS`, which is then made colour; images of more bands are colour already.

    Raises Unreadable with a reason, and nothing else, for whatever bytes it is given.
    """
    if found := _product(data):
        return _raster(*found, at_least, mosaic)
    try:
        image = _open(data)
    except _Unknown:
        if not data.startswith(_TIFF):
            raise
        return _raster("TIFF", {"product": data}, at_least, mosaic)
    if kind := _beyond(image, data):
        return _raster(kind, {"product": data}, at_least, mosaic)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if at_least is not None and image.format == "JPEG" and not mosaic:
                image.draft(None, (2 * at_least, 2 * at_least))
            image.load()
            if mosaic and image.mode in ("L", *_WIDE):
                return _coloured(image, mosaic)
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


def _product(data: bytes) -> tuple[str, dict[str, bytes]] | None:
    """The kind and files of a product of a science archive, its label first; None where it is something else."""
    kind = planetary.kind(data)
    return planetary.opened(data, kind, MAX_BYTES) if kind else None


def _carried(kind: str, files: dict[str, bytes]) -> bytes | None:
    """The data of a product where they are a file with a header of its own; its label then only tells about it."""
    if kind not in ("PDS3", "PDS4") or len(files) != 2:
        return None
    data = list(files.values())[1]
    signed = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", *_TIFF, *planetary.JP2)
    return data if data.startswith(signed) else None


def _facts(kind: str, files: dict[str, bytes]) -> Facts:
    if data := _carried(kind, files):
        facts = identify(data)
        return replace(facts, header=planetary.label(kind, files, facts.header))
    told, _ = planetary.read(kind, files, max_pixels=MAX_PIXELS, pixels=False)
    return Facts(**told)


def _raster(kind: str, files: dict[str, bytes], at_least: int | None, mosaic: str) -> Pixels:
    if data := _carried(kind, files):
        return decode(data, at_least=at_least, mosaic=mosaic)
    _, pixels = planetary.read(kind, files, max_pixels=MAX_PIXELS, pixels=True, at_least=at_least, mosaic=mosaic)
    assert pixels is not None
    return pixels


def _beyond(image: Image.Image, data: bytes) -> str | None:
    """The kind of a raster of which Pillow would lose bits or which it cannot show; None where it reads it whole."""
    if image.format == "PNG" and data[24:25] == b"\x10" and image.mode not in _WIDE and not _for_display(image):
        return "PNG"
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        if image.mode in _RANGELESS or (max(bits) > 8 and image.mode not in _WIDE and not _for_display(image)):
            return "TIFF"
    return None


def _for_display(image: Image.Image) -> bool:
    """Whether 16-bit values are display values: the file has a profile, or a gamma other than 1."""
    gamma = image.info.get("gamma")
    return bool(image.info.get("icc_profile")) or "srgb" in image.info or (gamma is not None and abs(gamma - 1) > 0.01)


def _coloured(image: Image.Image, mosaic: str) -> Pixels:
    values = np.asarray(image)
    if image.mode == "L":
        stretch = stretches.Stretch(0.0, 255.0, root=False)
    else:
        stretch = stretches.DISPLAY if _for_display(image) else stretches.linear(values)
    return stretch(mosaics.demosaic(values, mosaic))


def _as_rgb(image: Image.Image) -> Pixels:
    if image.mode in _WIDE:
        wide = np.asarray(image)
        grey = (stretches.DISPLAY if _for_display(image) else stretches.linear(wide))(wide)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def within(pixels: Pixels, side: int) -> Pixels:
    """A picture (h, w, 3) uint8 with at most `side` pixels on its long side; a smaller one stays as it is."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


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
