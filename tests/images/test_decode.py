"""Image files of every format give the right pixels; hostile and damaged ones give a reason and nothing else."""

import contextlib
import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from interpdisc_core.errors import Unreadable
from interpdisc_core.images import decode as decode_module
from interpdisc_core.images.decode import decode, identify
from interpdisc_core.images.resize import compute_crop_window, crop_center_square

Array = npt.NDArray[Any]


def encode(picture: Image.Image | Array, kind: str, **options: Any) -> bytes:
    """The bytes of a file."""
    sink = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(sink, kind, **options)
    return sink.getvalue()


def make_photo(height: int = 24, width: int = 40, seed: int = 0) -> Array:
    """Smooth seeded RGB pixels (height, width, 3), no two corners alike."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR))


def chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    """A PNG file, written by hand."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# ---------------------------------------------------------------------------------------- right values


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_lossless_file_gives_its_pixels(kind: str, options: dict[str, Any]) -> None:
    """PNG, BMP, TIFF and lossless WebP: the same RGB values, as a writable array."""
    pixels = decode(encode(make_photo(), kind, **options))
    np.testing.assert_array_equal(pixels, make_photo())
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95}), ("JPEG", {"progressive": True})]
)
def test_a_lossy_file_gives_nearly_its_pixels(kind: str, options: dict[str, Any]) -> None:
    """JPEG, progressive too, and lossy WebP: within a few levels."""
    assert np.abs(decode(encode(make_photo(), kind, **options)).astype(int) - make_photo()).mean() < 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"])
def test_gray_becomes_three_equal_channels(kind: str) -> None:
    """Of the same values, in every format."""
    gray = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (16, 1))
    pixels = decode(encode(gray, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert np.abs(pixels.astype(int) - gray[:, :, None]).max() <= (3 if kind == "JPEG" else 0)


def root(wide: Any, full: int) -> Array:
    """The transform of linear values."""
    return np.rint(255 * np.sqrt(np.asarray(wide) / full))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_linear_sixteen_bits_are_stretched_by_the_square_root(kind: str) -> None:
    """Gray of 16 bits without a profile: full scale is 65535, or 4095 if no value is above it."""
    wide = np.array([[0, 16, 128, 257, 300, 4096, 32768, 65407, 65535]], dtype=np.uint16)
    np.testing.assert_array_equal(decode(encode(wide, kind))[0, :, 0], root(wide, 65535)[0])
    dark = np.array([[0, 1, 16, 1024, 4000, 4095]], dtype=np.uint16)
    np.testing.assert_array_equal(decode(encode(dark, kind))[0, :, 0], root(dark, 4095)[0])
    assert root(dark, 4095)[0, -1] == 255


def profile() -> bytes:
    """An sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_display_bits_are_divided_by_257(kind: str) -> None:
    """With a profile: rounded, not clipped at 255."""
    wide = np.array([[0, 128, 257, 300, 32768, 65407, 65535]], dtype=np.uint16)
    shown = decode(encode(wide, kind, icc_profile=profile()))
    np.testing.assert_array_equal(shown[0, :, 0], [0, 0, 1, 1, 128, 255, 255])


@pytest.mark.parametrize(("gamma", "linear"), [(45455, False), (100000, True)])
def test_gamma_distinguishes_linear_from_display_values(gamma: int, linear: bool) -> None:
    """A PNG's gAMA of 1/2.2 is for a display; one of 1 is linear."""
    wide = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    data = encode(wide, "PNG")
    data = data[:33] + chunk(b"gAMA", struct.pack(">I", gamma)) + data[33:]
    expected = root(wide, 65535)[0] if linear else [0, 1, 128, 255]
    np.testing.assert_array_equal(decode(data)[0, :, 0], expected)


def test_big_endian_sixteen_bits_have_the_same_values() -> None:
    """A big-endian TIFF of 16 bits has the same values as a little-endian one."""
    wide = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    tags = {
        256: (3, 4),
        257: (3, 1),
        258: (3, 16),
        259: (3, 1),
        262: (3, 1),
        273: (4, 8),
        277: (3, 1),
        278: (3, 1),
        279: (4, 8),
    }
    entries = b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, (kind, value) in sorted(tags.items())
    )
    data = (
        b"MM\0*"
        + struct.pack(">I", 16)
        + wide.astype(">u2").tobytes()
        + struct.pack(">H", len(tags))
        + entries
        + b"\0" * 4
    )
    np.testing.assert_array_equal(decode(data)[0, :, 0], root(wide, 65535)[0])


def test_sixteen_bits_of_color() -> None:
    """RGB and RGBA of 16 bits a channel: linear by the root, exactly; for a display scaled, within one level."""
    values = np.array([[[0, 257 * 100, 65535], [65535, 32768, 514]]], dtype=">u2")
    data = png(2, 1, 16, 2, b"\0" + values.tobytes())
    np.testing.assert_array_equal(decode(data), root(values, 65535))
    srgb = data[:33] + chunk(b"sRGB", b"\0") + data[33:]
    assert np.abs(decode(srgb).astype(int) - [[[0, 100, 255], [255, 128, 2]]]).max() <= 1
    clear = np.dstack([values, np.array([[65535, 0]], dtype=">u2")]).astype(">u2")
    shown = decode(png(2, 1, 16, 6, b"\0" + clear.tobytes()))
    np.testing.assert_array_equal(shown, [[root(values, 65535)[0, 0], [255, 255, 255]]])


def test_transparency_is_blended_with_white() -> None:
    """Transparent is white, opaque the color, half half-way, whatever the color of a transparent pixel."""
    pixels = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 128]]], dtype=np.uint8)
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        shown = decode(encode(pixels, kind, **options)).astype(int)
        assert np.abs(shown - [[[200, 0, 0], [255, 255, 255], [227, 127, 127]]]).max() <= 1, kind


def test_transparent_gray_and_palettes_are_blended_with_white() -> None:
    """Gray with alpha, a palette with transparency, and a single transparent color."""
    gray = np.array([[[10, 255], [10, 0]]], dtype=np.uint8)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(gray, "LA"), "PNG"))[0], [[10] * 3, [255] * 3])
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    for kind in ("PNG", "GIF"):
        np.testing.assert_array_equal(decode(encode(palette, kind))[0], [[10, 20, 30], [40, 50, 60]])
        np.testing.assert_array_equal(decode(encode(palette, kind, transparency=1))[0], [[10, 20, 30], [255] * 3])
    colours = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    np.testing.assert_array_equal(decode(encode(colours, "PNG", transparency=(1, 2, 3)))[0], [[255] * 3, [4, 5, 6]])


def test_one_bit_pixels_are_0_and_255() -> None:
    """In PNG, TIFF and BMP."""
    bits = Image.fromarray(np.array([[0, 255, 255, 0]], dtype=np.uint8)).convert("1")
    for kind in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(decode(encode(bits, kind))[0, :, 1], [0, 255, 255, 0])


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_to_rgb(kind: str) -> None:
    """No ink is white, magenta and yellow are red, key is black; not inverted."""
    inks = np.zeros((16, 48, 4), dtype=np.uint8)
    inks[:, 16:32, 1:3], inks[:, 32:, 3] = 255, 255
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    shown = decode(encode(Image.fromarray(inks, "CMYK"), kind, **options)).astype(int)
    for column, color in ((8, (255, 255, 255)), (24, (255, 0, 0)), (40, (0, 0, 0))):
        assert np.abs(shown[8, column] - color).max() <= 6, (kind, column)


STORED: dict[int, Callable[[Array], Array]] = {  # what lies in the file, by where EXIF says its row 0 and column 0 are
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[:, ::-1].transpose(1, 0, 2),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a[::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("turn", STORED)
@pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 0), ("JPEG", 8), ("WEBP", 0), ("TIFF", 0)])
def test_exif_orientation_is_applied(turn: int, kind: str, tolerance: int) -> None:
    """All eight EXIF orientations of a photo give the same picture."""
    exif = Image.Exif()
    exif[274] = turn
    options = {"JPEG": {"quality": 97, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    shown = decode(encode(np.ascontiguousarray(STORED[turn](make_photo())), kind, exif=exif, **options))
    assert shown.shape == make_photo().shape
    assert np.abs(shown.astype(int) - make_photo()).max() <= tolerance


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"]
)
def test_damaged_exif_is_ignored(exif: bytes) -> None:
    """The pixels are intact, so the photo is decoded."""
    assert np.abs(decode(encode(make_photo(), "JPEG", quality=95, exif=exif)).astype(int) - make_photo()).mean() < 4


@pytest.mark.parametrize("turn", [0, 9, 65535])
def test_unknown_exif_orientations_are_ignored(turn: int) -> None:
    """Values other than 1 to 8."""
    exif = Image.Exif()
    exif[274] = turn
    np.testing.assert_array_equal(decode(encode(make_photo(), "PNG", exif=exif)), make_photo())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG", "MPO"])
def test_the_first_frame_of_several_is_decoded(kind: str) -> None:
    """Animations, multi-page files and stereo photos."""
    first, second = (Image.new("RGB", (16, 16), color) for color in ((250, 5, 5), (5, 5, 250)))
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "MPO" else {}
    shown = decode(encode(first, kind, save_all=True, append_images=[second], **options))
    assert shown.shape == (16, 16, 3)
    assert np.abs(shown.astype(int) - (250, 5, 5)).max() <= 4


@pytest.mark.parametrize("at_least", [8, 60, 224])
def test_a_large_jpeg_may_be_decoded_smaller(at_least: int) -> None:
    """With `at_least` the short side keeps twice as many pixels (or all it has), and the picture is the same."""
    large = encode(make_photo(480, 640), "JPEG", quality=95)
    small = decode(large, at_least=at_least)
    assert min(small.shape[:2]) >= min(2 * at_least, 480)
    assert small.shape[0] * 640 == pytest.approx(small.shape[1] * 480, rel=0.02)
    resized = np.asarray(Image.fromarray(decode(large)).resize(small.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(small.astype(int) - resized).max() <= 6


def test_identify_reads_the_header_only() -> None:
    """Format, stored size and mode, without decoding pixels."""
    facts = identify(encode(make_photo(), "JPEG")[:-50])
    assert (facts.format, facts.width, facts.height, facts.mode) == ("JPEG", 40, 24, "RGB")


# ---------------------------------------------------------------------------------------- refused


def refusal_reason(data: bytes) -> str:
    """The reason for which a file is refused."""
    with pytest.raises(Unreadable) as caught:
        decode(data)
    assert not caught.value.retryable, "its content is at fault, so reading it again would not help"
    reason = str(caught.value)
    assert 0 < len(reason) < 300
    assert "\n" not in reason
    return reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "zero bytes"),
        (b"# A list\nof,text\n", "not an image"),
        (np.random.default_rng(0).bytes(5000), "not an image"),
        (b"\xff\xd8\xff", ""),
        (b"\x89PNG\r\n\x1a\n", ""),
        (b"GIF89a", ""),
        (b"II*\0", ""),
        (b"BM", ""),
        (b"RIFF\x10\0\0\0WEBPVP8 ", ""),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"P6 1 1 255\n\0\0\0", "not an image"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_other_files_are_refused(data: bytes, reason: str) -> None:
    """Empty files, text, noise, bare signatures, and formats that are not accepted (vector graphics, PostScript)."""
    assert reason in refusal_reason(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_a_truncated_file_is_refused(kind: str, share: float) -> None:
    """It is never shown half gray."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert refusal_reason(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_reason_says_truncated(kind: str) -> None:
    """For the usual case, an interrupted transfer."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, kind)
    assert refusal_reason(data[: len(data) // 2]).startswith("truncated")


def test_a_png_with_a_damaged_header_is_refused() -> None:
    """A wrong checksum of IHDR."""
    data = bytearray(encode(make_photo(), "PNG"))
    data[20] ^= 1
    assert refusal_reason(bytes(data))


@pytest.mark.parametrize("level", [0, 6])
def test_a_png_with_damaged_pixels_is_refused(level: int) -> None:
    """One byte of IDAT changed, so its checksums do not hold: refused, not shown with wrong pixels."""
    noise = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    good = encode(noise, "PNG", compress_level=level)
    for at in range(good.index(b"IDAT") + 60, len(good) - 60, 211):
        damaged = bytearray(good)
        damaged[at] ^= 0x10
        assert refusal_reason(bytes(damaged)), at


def bombs() -> dict[str, bytes]:
    """Small files that claim to be enormous."""
    gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + bytes(6) + b","
    gif += struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\2\2\x4c\1\0;"
    framed = b"GIF89a" + struct.pack("<HH", 1, 1) + b"\x80\0\0" + bytes(6) + b","
    framed += struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\2\2\x4c\1\0;"
    bmp = (
        b"BM"
        + struct.pack("<IHHI", 100, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)
    )
    jpeg = bytearray(encode(make_photo(), "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", 65000, 65000)
    tiff = bytearray(encode(make_photo(), "TIFF"))
    for tag in (256, 257):
        offset = tiff.index(struct.pack("<HHI", tag, 4, 1)) if struct.pack("<HHI", tag, 4, 1) in tiff else -1
        if offset < 0:
            offset = tiff.index(struct.pack("<HHI", tag, 3, 1))
            tiff[offset : offset + 8] = struct.pack("<HHI", tag, 4, 1)
        tiff[offset + 8 : offset + 12] = struct.pack("<I", 100_000)
    return {
        "png": png(100_000, 100_000, 8, 2, bytes(1000)),
        "png-thin": png(2**31 - 1, 1, 8, 0, bytes(1000)),
        "png-one-bit": png(100_000, 100_000, 1, 0, bytes(1000)),
        "gif": gif,
        "gif-frame": framed,
        "bmp": bmp,
        "jpeg": bytes(jpeg),
        "tiff": bytes(tiff),
    }


@pytest.mark.parametrize("name", bombs())
def test_a_decompression_bomb_is_refused_before_it_is_decoded(name: str) -> None:
    """Refused by its header: the reason has the size, and neither time nor memory is spent."""
    data = bombs()[name]
    tracemalloc.start()
    started = time.process_time()
    try:
        reason = refusal_reason(data)
        seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "bomb" in reason
    assert "pixels" in reason
    assert seconds < 1
    assert peak < 20e6


def test_a_text_chunk_that_explodes_is_refused() -> None:
    """A compressed comment of 60 MB in a tiny PNG is not inflated."""
    body = b"Comment\0\0" + zlib.compress(bytes(60_000_000), 1)
    data = png(1, 1, 8, 0, b"\0\0")
    data = data[:33] + chunk(b"zTXt", body) + data[33:]
    tracemalloc.start()
    try:
        with contextlib.suppress(Unreadable):
            assert decode(data).shape == (1, 1, 3)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------------------------- whatever bytes

SEEDS = [
    encode(make_photo(9, 13), "PNG"),
    encode(make_photo(9, 13), "JPEG"),
    encode(make_photo(9, 13), "JPEG", progressive=True),
    encode(make_photo(9, 13), "TIFF"),
    encode(make_photo(9, 13), "TIFF", compression="tiff_lzw"),
    encode(make_photo(9, 13), "BMP"),
    encode(make_photo(9, 13), "WEBP"),
    encode(Image.fromarray(make_photo(9, 13)).quantize(16), "GIF"),
    encode(Image.fromarray(make_photo(9, 13)).quantize(16), "PNG", transparency=3),
    encode(np.full((5, 6), 40000, dtype=np.uint16), "TIFF"),
    encode(
        Image.fromarray(make_photo(9, 13)), "GIF", save_all=True, append_images=[Image.fromarray(make_photo(9, 13, 1))]
    ),
]


def check_settles(data: bytes) -> None:
    """Either pixels or Unreadable. (A smaller limit, so that a corrupted size costs no gigabyte here.)"""
    with mock.patch.object(decode_module, "MAX_PIXELS", 10**6):
        try:
            pixels = decode(data)
        except Unreadable:
            return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert min(pixels.shape) >= 1
    assert pixels.dtype == np.uint8


@given(st.sampled_from([b"", *(seed[:12] for seed in SEEDS)]), st.binary(max_size=400))
@example(b"", b"")
def test_any_bytes_give_pixels_or_unreadable(prefix: bytes, rest: bytes) -> None:
    """Arbitrary bytes, also after the signature of a real file."""
    check_settles(prefix + rest)


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    st.floats(0.5, 1),
)
def test_corrupted_files_give_pixels_or_unreadable(
    seed: bytes, changes: list[tuple[float, int]], kept_fraction: float
) -> None:
    """Bytes changed and the end removed, in files of every format."""
    data = bytearray(seed)
    for place, value in changes:
        data[int(place * len(data))] = value
    check_settles(bytes(data[: int(kept_fraction * len(data))]))


# ---------------------------------------------------------------------------------------- the square


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 7), (1, 60_000), (513, 512)])
@pytest.mark.parametrize(("crop", "short_side"), [(224, 256), (32, 32), (5, 9)])
def test_any_image_gives_a_square(height: int, width: int, crop: int, short_side: int) -> None:
    """(h, w, 3) of any shape becomes (crop, crop, 3), quickly."""
    started = time.process_time()
    assert crop_center_square(np.zeros((height, width, 3), np.uint8), crop=crop, short_side=short_side).shape == (
        crop,
        crop,
        3,
    )
    assert time.process_time() - started < 1


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([(224, 256), (32, 32), (80, 96)]))
def test_the_crop_window_is_a_centered_square_within_the_image(width: int, height: int, sizes: tuple[int, int]) -> None:
    """Its side is crop / short_side of the image's short side."""
    crop, short_side = sizes
    left, top, right, bottom = compute_crop_window(width, height, crop=crop, short_side=short_side)
    assert right - left == pytest.approx(bottom - top)
    assert right - left == pytest.approx(min(width, height) * crop / short_side)
    assert left + right == pytest.approx(width)
    assert top + bottom == pytest.approx(height)


def test_the_square_shows_the_crop_window() -> None:
    """A mark at the center of the window is at the center of the square, and nothing outside of the window is in it."""
    image = np.zeros((200, 400, 3), np.uint8)
    left, top, right, bottom = (round(v) for v in compute_crop_window(400, 200, crop=224, short_side=256))
    image[:, : left - 4] = image[:, right + 4 :] = image[: top - 4] = image[bottom + 4 :] = 255
    image[95:105, 195:205, 0] = 200
    shown = crop_center_square(image, crop=224, short_side=256)
    assert (shown[..., 1:] == 0).all()
    assert shown[112, 112, 0] > 190
