"""Image files to pixels, or a reason why not.

Files are hostile input. No name or suffix is trusted; the size in the header is checked before any pixel is decoded;
whatever a library raises becomes `Unreadable` with a reason. Pillow reads the formats that it reads without loss;
products of science archives, and rasters of more than 8 bits, go through `interpdisc_core.images.science_formats`.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from interpdisc_core._types import AnyArray, BoolArray, PixelArray
from interpdisc_core.errors import Unreadable, one_line
from interpdisc_core.images import (
    demosaic,
    headers,
    jpeg_completeness,
    memory_budget,
    other_formats,
    science_formats,
    tiff_tags,
)
from interpdisc_core.images.intact_parts import strip_metadata
from interpdisc_core.images.orientation import read_orientation, turn_pixels
from interpdisc_core.images.stretch import DISPLAY_STRETCH, Stretch, fit_linear_stretch, is_display_referred
from interpdisc_core.sources.fetch import MAX_FILE_BYTES

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", *(("AVIF",) if features.check("avif") else ()))
MAX_PIXELS = 178_000_000
"""An image of more pixels is refused as a decompression bomb; Pillow's own limit is a little higher."""
LARGE_PIXELS = 1 << 25
"""A decoded image of more pixels is reduced while it is converted, where a smaller one is enough (`at_least`)."""
_STRIP_PIXELS = 1 << 20
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_UNBOUNDED_MODES = ("F", "I")

logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)  # it logs an error for each TIFF that GDAL reads


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a file's header says.

    Args:
        format: As Pillow names it, or VICAR, PDS3, PDS4, ISIS2, ISIS3, JPEG2000.
        width: In pixels as stored, before the EXIF orientation is applied.
        height: In pixels as stored.
        mode: As Pillow names it; type and bands, such as `uint16x3`, of a file that GDAL reads.
        header: Label, EXIF or TIFF tags as JSON text of at most 64 kB.
    """

    format: str
    width: int
    height: int
    mode: str
    header: str = "{}"


class _UnknownFormat(Unreadable):
    """Pillow cannot read it; GDAL may, if it is a TIFF."""


@dataclass(frozen=True, slots=True)
class _PictureFile:
    """A file that Pillow has opened: the bytes that it reads, and whether damaged metadata was left out of them."""

    image: Image.Image
    data: bytes
    is_stripped: bool = False


def _open_with_pillow(data: bytes) -> _PictureFile:
    """Open a file, without its metadata if these cannot be read."""
    try:
        return _PictureFile(_open_image(data), data)
    except _UnknownFormat:
        if (intact := strip_metadata(data)) == data:
            raise
    return _PictureFile(_open_image(intact), intact, is_stripped=True)


def _open_image(data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        reason = other_formats.describe_file(data) or f"not an image that can be read (none of {', '.join(FORMATS)})"
        raise _UnknownFormat(reason) from None
    except Image.DecompressionBombError as error:
        raise Unreadable(f"decompression bomb: {one_line(error).partition(', could')[0]}") from None
    except Exception as error:
        raise _UnknownFormat(f"damaged header: {one_line(error)}") from error
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(
            f"decompression bomb: {image.width} x {image.height} pixels, more than {MAX_PIXELS // 10**6} million"
        )
    if image.width < 1 or image.height < 1:
        raise Unreadable("an image without pixels")
    if image.format == "PNG":
        headers.add_late_exif(image, data)
    return image


def identify(data: bytes) -> ImageInfo:
    """Read a file's header, without decoding pixels.

    Raises:
        Unreadable: With the reason, whatever the bytes are.
    """
    if product := _open_product(data):
        return _read_product_info(*product)
    data = tiff_tags.select_picture_page(data)
    try:
        file = _open_with_pillow(data)
    except _UnknownFormat:
        if not data.startswith(tiff_tags.TIFF_MAGIC):
            raise
        return _read_product_info("TIFF", {"product": data})
    image = file.image
    if (raster_kind := _find_raster_kind(image, file.data)) is None:
        header = headers.read_header(image, is_damaged=file.is_stripped)
        return ImageInfo(str(image.format), image.width, image.height, image.mode, header)
    info = _read_product_info(raster_kind, {"product": file.data})
    return replace(info, header=headers.add_picture_fields(info.header, read_orientation(image), file.is_stripped))


def decode(data: bytes, *, at_least: int | None = None, bayer_pattern: str = "") -> PixelArray:
    """Decode a file's bytes into RGB pixels, rotated by its EXIF orientation.

    The first frame of an animation; transparency over white; CMYK, palette and gray converted to RGB; of more than
    four bands the first three. Values are brought to 8 display-like bits (see `interpdisc_core.images.stretch`): 8 bits
    are kept; linear values of 12 or 16 bits by the square root of their fraction of full scale; 16 bits of a file with
    a gamma, sRGB or ICC profile divided by 257; wider integers and reals by the square root between percentiles.
    Values that the label declares as missing are black.

    The memory that it takes is estimated from the header and reserved (see `interpdisc_core.images.memory_budget`).

    Args:
        data: The file.
        at_least: The image may be decoded at a reduced scale whose short side has at least twice this many pixels:
            JPEG and science formats always, which is several times faster for large photos; others if they have more
            than `LARGE_PIXELS`. None: at full scale.
        bayer_pattern: One of `interpdisc_core.images.demosaic.BAYER_PATTERNS`: an image of one band is demosaiced.
            Images of more bands are in color already. Empty: no mosaic.

    Returns:
        (h, w, 3) uint8, writable.

    Raises:
        Unreadable: With the reason, whatever the bytes are; nothing else is raised.

    Example:
        >>> sink = io.BytesIO()
        >>> Image.new("L", (4, 2), 99).save(sink, "PNG")
        >>> decode(sink.getvalue())[0, 0].tolist()
        [99, 99, 99]
    """
    if product := _open_product(data):
        return _decode_raster(*product, at_least, bayer_pattern)
    data = tiff_tags.select_picture_page(data)
    try:
        file = _open_with_pillow(data)
    except _UnknownFormat:
        if not data.startswith(tiff_tags.TIFF_MAGIC):
            raise
        return _decode_raster("TIFF", {"product": data}, at_least, bayer_pattern)
    if raster_kind := _find_raster_kind(file.image, file.data):
        pixels = _decode_raster(raster_kind, {"product": file.data}, at_least, bayer_pattern)
        return turn_pixels(pixels, read_orientation(file.image)) if raster_kind == "PNG" else pixels
    try:
        return _decode_with_pillow(file, at_least, bayer_pattern)
    except _DamagedMetadata as error:
        if data.startswith(tiff_tags.TIFF_MAGIC):
            return _decode_raster("TIFF", {"product": data}, at_least, bayer_pattern)
        intact = strip_metadata(file.data)
        if intact == file.data:
            raise
        try:
            return _decode_with_pillow(_PictureFile(_open_image(intact), intact, True), at_least, bayer_pattern)
        except Unreadable:
            raise error from None


class _DamagedMetadata(Unreadable):
    """What Pillow raised may be about metadata, not pixels."""


def _decode_with_pillow(file: _PictureFile, at_least: int | None, bayer_pattern: str) -> PixelArray:
    image = file.image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if image.format == "JPEG" and (completed := jpeg_completeness.complete_jpeg(file.data)) is not file.data:
                image = _open_image(completed)
            full_size = image.size
            if at_least is not None and image.format == "JPEG" and not bayer_pattern:
                image.draft(None, (2 * at_least, 2 * at_least))
            page = tiff_tags.read_first_page(file.data) if image.format == "TIFF" else tiff_tags.TiffPage()
            return _decode_within_budget(image, full_size, at_least, bayer_pattern, page)
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable("not enough memory to decode it") from None
    except Exception as error:
        reason = one_line(error)
        if "truncated" in reason or "broken data stream" in reason or isinstance(error, EOFError):
            raise Unreadable(f"truncated: {reason}") from error
        raise _DamagedMetadata(f"damaged: {reason}") from error


def _open_product(data: bytes) -> tuple[str, dict[str, bytes]] | None:
    """The kind and files of a product of a science archive, its label first; None for other files."""
    kind = science_formats.detect_kind(data)
    return science_formats.open_product(data, kind, MAX_FILE_BYTES) if kind else None


def _find_embedded_image(kind: str, files: dict[str, bytes]) -> bytes | None:
    """The data of a product, if they are an image file with a header of its own; else None."""
    if kind not in ("PDS3", "PDS4") or len(files) != 2:
        return None
    data = list(files.values())[1]
    signatures = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", *tiff_tags.TIFF_MAGIC, *science_formats.JPEG2000_MAGIC)
    return data if data.startswith(signatures) else None


def _read_product_info(kind: str, files: dict[str, bytes]) -> ImageInfo:
    if data := _find_embedded_image(kind, files):
        embedded_info = identify(data)
        return replace(embedded_info, header=science_formats.merge_label(kind, files, embedded_info.header))
    info, _ = science_formats.read_product(kind, files, max_pixels=MAX_PIXELS, with_pixels=False)
    if kind == "TIFF" and tiff_tags.read_first_page(files["product"]).orientation >= 5:
        info["width"], info["height"] = info["height"], info["width"]  # upright, as Pillow gives them of a TIFF
    return ImageInfo(**info)


def _decode_raster(kind: str, files: dict[str, bytes], at_least: int | None, bayer_pattern: str) -> PixelArray:
    if data := _find_embedded_image(kind, files):
        return decode(data, at_least=at_least, bayer_pattern=bayer_pattern)
    _, pixels = science_formats.read_product(
        kind, files, max_pixels=MAX_PIXELS, with_pixels=True, at_least=at_least, bayer_pattern=bayer_pattern
    )
    assert pixels is not None
    if kind == "TIFF" and (orientation := tiff_tags.read_first_page(files["product"]).orientation) != 1:
        return turn_pixels(pixels, orientation)
    return pixels


def _find_raster_kind(image: Image.Image, data: bytes) -> str | None:
    """The kind of a raster that Pillow cannot read without loss; None for other images."""
    if (
        image.format == "PNG"
        and data[24:25] == b"\x10"
        and image.mode not in _SIXTEEN_BIT_MODES
        and not is_display_referred(image.info)
    ):
        return "PNG"
    if image.format == "TIFF":
        page = tiff_tags.read_first_page(data)
        if page.has_other_inks:
            raise Unreadable("a TIFF of inks other than CMYK, which cannot be shown; convert it to RGB")
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        is_wide = max(bits) > 8 and image.mode not in (*_SIXTEEN_BIT_MODES, "CMYK")
        if (
            image.mode in _UNBOUNDED_MODES
            or (page.is_signed and max(bits) == 8)
            or (is_wide and not is_display_referred(image.info))
        ):
            return "TIFF"
    return None


def _decode_within_budget(
    image: Image.Image,
    full_size: tuple[int, int],
    at_least: int | None,
    bayer_pattern: str,
    page: tiff_tags.TiffPage,
) -> PixelArray:
    pixels, short_side = image.width * image.height, min(image.size)
    factor = max(short_side // (2 * at_least), 1) if at_least is not None and pixels > LARGE_PIXELS else 1
    orientation = read_orientation(image)
    budget_bytes = memory_budget.get_decode_budget()
    needed_bytes = memory_budget.estimate_pillow_bytes(image, full_size, pixels // factor**2, orientation != 1)
    memory_budget.check_budget(needed_bytes, budget_bytes)
    with memory_budget.reserve_memory(needed_bytes, budget_bytes):
        image.load()
        return render_rgb(image, factor=factor, bayer_pattern=bayer_pattern, page=page)


def render_rgb(
    image: Image.Image, *, factor: int = 1, bayer_pattern: str = "", page: tiff_tags.TiffPage | None = None
) -> PixelArray:
    """A loaded image as RGB, rotated by its EXIF orientation.

    It is converted strip by strip: one that is converted whole is held four times.

    Args:
        image: Loaded.
        factor: By which it is reduced, as means of `factor` x `factor` pixels.
        bayer_pattern: See `decode`.
        page: The tags of a TIFF: whether white is zero, and which value is missing.

    Returns:
        (h, w, 3) uint8, writable.
    """
    is_mosaic = bool(bayer_pattern) and image.mode in ("L", *_SIXTEEN_BIT_MODES)
    page = page or tiff_tags.TiffPage()
    stretch = _fit_stretch(image, page)
    width, height = -(-image.width // factor), -(-image.height // factor)
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    for top, bottom in _iter_strips(image, factor):
        if is_mosaic:
            strip = _demosaic_strip(image, stretch, top, bottom, bayer_pattern)
        else:
            strip = _convert_strip(image.crop((0, top, image.width, bottom)), stretch, page)
        if factor > 1:
            strip = np.asarray(Image.fromarray(strip).reduce(factor))
        rgb[top // factor : top // factor + len(strip)] = strip
    orientation = 1 if is_mosaic else read_orientation(image)
    return rgb if orientation == 1 else turn_pixels(rgb, orientation)


def _iter_strips(image: Image.Image, factor: int = 1) -> Iterator[tuple[int, int]]:
    """First and last line of strips that cover an image, each a multiple of `factor`."""
    step = factor * max(_STRIP_PIXELS // (image.width * factor), 1)
    for top in range(0, image.height, step):
        yield top, min(top + step, image.height)


def _fit_stretch(image: Image.Image, page: tiff_tags.TiffPage) -> Stretch:
    """The stretch of an image of one band; it depends on the least and the greatest value that is not missing."""
    if image.mode not in _SIXTEEN_BIT_MODES:
        return Stretch(0.0, 255.0, use_sqrt=False)
    if is_display_referred(image.info):
        return DISPLAY_STRETCH
    extremes: list[tuple[int, int]] = []
    for top, bottom in _iter_strips(image):
        values, missing = _read_gray(image.crop((0, top, image.width, bottom)), page)
        valid = values if missing is None else values[~missing]
        if valid.size:
            extremes.append((valid.min(), valid.max()))
    return fit_linear_stretch(np.array(extremes or [(0, 0)], dtype=np.uint16))


def _read_gray(image: Image.Image, page: tiff_tags.TiffPage) -> tuple[AnyArray, BoolArray | None]:
    """Values of one band with black as 0, and where they are missing."""
    values = np.asarray(image)
    if image.mode == "L":
        return values, page.find_missing_levels(values)
    missing = page.find_missing(values)
    if page.photometric == tiff_tags.WHITE_IS_ZERO:
        values = np.subtract(2**page.bits - 1, values, dtype=np.uint16)
    return values, missing


def _demosaic_strip(image: Image.Image, stretch: Stretch, top: int, bottom: int, bayer_pattern: str) -> PixelArray:
    first, last = max(top - demosaic.KERNEL_RADIUS, 0), min(bottom + demosaic.KERNEL_RADIUS, image.height)
    values = np.asarray(image.crop((0, first, image.width, last)))
    color = demosaic.demosaic(values, demosaic.shift_pattern(bayer_pattern, 0, first))
    return stretch(color[top - first : bottom - first])


def _convert_strip(image: Image.Image, stretch: Stretch, page: tiff_tags.TiffPage) -> PixelArray:
    if image.mode in _SIXTEEN_BIT_MODES or (image.mode == "L" and page.nodata is not None):
        values, missing = _read_gray(image, page)
        gray = stretch(values)
        if missing is not None:
            gray[missing] = 0
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(background, image)
    return np.asarray(image.convert("RGB"))
