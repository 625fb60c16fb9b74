"""Science formats give the right values, the right way up, with their labels; hostile ones a reason and nothing else."""

import io
import json
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from interpdisc_core.errors import Unreadable
from interpdisc_core.images import decode as decode_module
from interpdisc_core.images import demosaic, science_formats
from interpdisc_core.images.decode import decode, identify
from tests.helpers import science_files

Array = npt.NDArray[Any]
H, W = 12, 20


def make_scene(bands: int = 1, dtype: str = "u1") -> Array:
    """(bands, 12, 20), no two corners alike, no row or column symmetric; of 16 bits and reals up to 4095."""
    y, x = np.mgrid[:H, :W]
    base = (10 * y + 3 * x + 5)[None] + 20 * np.arange(bands)[:, None, None]
    return (base if np.dtype(dtype).itemsize == 1 else base * 19).astype(dtype)


def root(values: Array, full: float, black: float = 0) -> Array:
    """The stated transform of linear values, as (lines, samples, 3)."""
    share = np.clip((values.astype(np.float64) - black) / full, 0, 1)
    shown = np.rint(255 * np.sqrt(share)).transpose(1, 2, 0)
    return np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown[..., :3]


def expected(values: Array) -> Array:
    """What is shown of (bands, lines, samples)."""
    if values.dtype == np.uint8:
        return root(values.astype(float) ** 2, 255**2)  # as they are
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 4:
        return root(values, 4095, min(int(values.min()), 0))
    low, high = np.percentile(values[:3], (0.1, 99.9))
    return root(values, high - low, low)


def check_pixels(data: bytes, values: Array, within: int = 0) -> None:
    """A file shows these values."""
    shown = decode(data)
    assert shown.dtype == np.uint8
    assert shown.shape == (H, W, 3)
    assert np.abs(shown.astype(int) - expected(values)).max() <= within


# ------------------------------------------------------------------------------------------- right values


@pytest.mark.parametrize("org", ["BSQ", "BIL", "BIP"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("bands", "dtype"), [(1, "u1"), (3, "u1"), (1, "i2"), (3, "i2"), (3, "i4"), (1, "f4"), (1, "f8")]
)
def test_vicar_files_give_their_values(org: str, order: str, bands: int, dtype: str) -> None:
    """BYTE, HALF, FULL, REAL, DOUB; band, line and pixel interleaved; both byte orders."""
    values = make_scene(bands, dtype)
    check_pixels(science_files.make_vicar(values, org, order=order), values, within=int(values.dtype.kind == "f"))


def test_vicar_prefixes_are_not_samples() -> None:
    """Binary bytes before each record."""
    check_pixels(science_files.make_vicar(make_scene(1, "i2"), prefix=8), make_scene(1, "i2"))


@pytest.mark.parametrize("org", ["BSQ", "BIL", "BIP"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bands", "dtype"), [(1, "u1"), (3, "u1"), (1, "u2"), (3, "u2"), (1, "i2"), (1, "f4")])
def test_attached_pds3_labels_give_the_values(org: str, order: str, bands: int, dtype: str) -> None:
    """MSB_, LSB_, IEEE_ and PC_ samples; band, line and sample interleaved."""
    values = make_scene(bands, dtype)
    check_pixels(science_files.make_pds3(values, org, order=order), values, within=int(values.dtype.kind == "f"))


@pytest.mark.parametrize("word", ["SAMPLE_INTERLEAVED", "PIXEL_INTERLEAVED", '"SAMPLE INTERLEAVED"'])
def test_pds3_words_for_interleaving(word: str) -> None:
    """GDAL 3.10 misreads one of them and crashes on another."""
    data = science_files.make_pds3(make_scene(3), "BIP").replace(b"SAMPLE_INTERLEAVED", word.encode())
    truncate = len(word) - len("SAMPLE_INTERLEAVED")
    place = data.index(b"\r\nEND\r\n") + 7
    data = data[:place] + b" " * max(-truncate, 0) + data[place + max(truncate, 0) :]
    check_pixels(data, make_scene(3))


@pytest.mark.parametrize(
    ("pointer", "before"),
    [('"X.IMG"', 0), ('("X.IMG")', 0), ('("X.IMG", 1)', 0), ('("X.IMG", 3)', 40), ('("X.IMG", 8 <BYTES>)', 7)],
)
def test_detached_pds3_labels_give_the_values(pointer: str, before: int) -> None:
    """With the offset of the data in records (here of 20 bytes) or bytes."""
    values = make_scene(1, "u2")
    data = b"\xff" * before + science_files.make_pds3_data(values)
    check_pixels(
        science_files.make_zip({"x.lbl": science_files.make_pds3_label(values, pointer), "X.IMG": data}), values
    )


def test_pds3_display_directions_are_applied() -> None:
    """LINE_DISPLAY_DIRECTION and SAMPLE_DISPLAY_DIRECTION."""
    more = "  LINE_DISPLAY_DIRECTION = UP\r\n  SAMPLE_DISPLAY_DIRECTION = LEFT\r\n"
    check_pixels(science_files.make_pds3(make_scene()[:, ::-1, ::-1], extra=more), make_scene())


@pytest.mark.parametrize("vertical", ["Top to Bottom", "Bottom to Top"])
@pytest.mark.parametrize("horizontal", ["Left to Right", "Right to Left"])
@pytest.mark.parametrize(
    ("bands", "dtype", "order"), [(1, "u1", ">"), (1, "u2", ">"), (1, "u2", "<"), (3, "u1", ">"), (3, "i2", "<")]
)
def test_pds4_products_are_shown_upright(vertical: str, horizontal: str, bands: int, dtype: str, order: str) -> None:
    """For both line directions and both sample directions."""
    values = make_scene(bands, dtype)
    stored = values[:, :: -1 if vertical[0] == "B" else 1, :: -1 if horizontal[0] == "R" else 1]
    label = science_files.make_pds4_label(
        stored, "x.img", offset=16, order=order, vertical=vertical, horizontal=horizontal
    )
    check_pixels(
        science_files.make_zip(
            {"x.xml": label, "x.img": b"\xff" * 16 + science_files.make_pds3_data(stored, order=order)}
        ),
        values,
    )


@pytest.mark.parametrize("tile", [None, (8, 8), (5, 16)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bands", "dtype"), [(1, "u1"), (3, "u1"), (1, "u2"), (3, "i2"), (1, "f4")])
def test_isis3_cubes_give_their_values(tile: tuple[int, int] | None, order: str, bands: int, dtype: str) -> None:
    """Band sequential and tiled."""
    values = make_scene(bands, dtype)
    check_pixels(science_files.make_isis3(values, tile, order=order), values, within=int(values.dtype.kind == "f"))


@pytest.mark.parametrize(("bands", "dtype"), [(1, "u1"), (3, "u1"), (1, "i2"), (1, "f4")])
def test_isis2_cubes_give_their_values(bands: int, dtype: str) -> None:
    """8 and 16 bits and reals."""
    values = make_scene(bands, dtype)
    check_pixels(science_files.make_isis2(values), values, within=int(values.dtype.kind == "f"))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bands", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8"])
def test_tiff_files_give_their_values(big: bool, bands: int, dtype: str) -> None:
    """TIFF and BigTIFF of 8 bits to doubles, of one, three and more bands (the first three are shown)."""
    values = make_scene(bands, dtype)
    check_pixels(science_files.make_tiff(values, big=big), values, within=int(values.dtype.kind == "f"))


@pytest.mark.parametrize("compress", ["lzw", "zstd", "lerc", "deflate"])
def test_compressed_geotiff_with_nodata(compress: str, tmp_path: Path) -> None:
    """Of reals."""
    rasterio = pytest.importorskip("rasterio")
    values = make_scene(1, "f4")
    values[0, 3, 4] = -9999
    path, shape = (
        tmp_path / "x.tif",
        {"width": W, "height": H, "count": 1, "crs": "EPSG:32618", "transform": rasterio.Affine(2, 0, 5, 0, -2, 9)},
    )
    with rasterio.open(path, "w", driver="GTiff", dtype="float32", nodata=-9999, compress=compress, **shape) as sink:
        sink.write(values)
    shown = decode(path.read_bytes())
    assert (shown[3, 4] == 0).all()
    low, high = np.percentile(values[values > 0], (0.1, 99.9))
    assert np.abs(shown[..., 0] - root(values, high - low, low)[..., 0]).max() <= 1


@pytest.mark.parametrize("bands", [1, 3])
def test_sixteen_bit_png_keeps_its_bits(bands: int) -> None:
    """Gray and RGB, until the stretch."""
    check_pixels(science_files.make_png16(make_scene(bands, "u2")), make_scene(bands, "u2"))


@pytest.mark.parametrize("suffix", ["lbl", "xml"])
def test_a_product_with_jpeg_data_has_the_labels_fields(suffix: str) -> None:
    """A browse product is decoded as a JPEG, and its header has the label's fields."""
    sink = io.BytesIO()
    Image.fromarray(make_scene()[0]).save(sink, "JPEG", quality=97)
    label = (
        science_files.make_pds4_label(make_scene(), "x.jpg")
        if suffix == "xml"
        else science_files.make_pds3_label(make_scene(), '"x.jpg"', head="SOL = 7\r\n")
    )
    data = science_files.make_zip({f"x.{suffix}": label, "x.jpg": sink.getvalue()})
    assert np.abs(decode(data).astype(int) - make_scene()[0][..., None]).max() <= 6
    info = identify(data)
    assert info.format == "JPEG"
    header = json.loads(info.header)
    assert header["SOL"] == "7" if suffix == "lbl" else header["instrument_name"] == "MCZ_LEFT"


# --------------------------------------------------------------------------------- the stated transform


def test_full_scale_is_read_from_the_label() -> None:
    """SAMPLE_BIT_MASK; a value above it shows that it is wrong."""
    values = make_scene(1, "u2") // 19  # up to 172
    more = "  SAMPLE_BIT_MASK = 2#0000000111111111#\r\n"
    np.testing.assert_array_equal(decode(science_files.make_pds3(values, extra=more)), root(values, 511))
    np.testing.assert_array_equal(
        decode(science_files.make_pds3(make_scene(1, "u2"), extra=more)), root(make_scene(1, "u2"), 4095)
    )
    values[0, 0, 0] = 5000
    np.testing.assert_array_equal(decode(science_files.make_pds3(values)), root(values, 65535))


def test_black_is_the_lowest_value() -> None:
    """Of signed samples, the least valid value is black; missing ones do not count and are black."""
    values = make_scene(1, "i2") - 1000
    values[0, 2, 3] = -32768
    shown = decode(science_files.make_pds3(values, extra="  MISSING_CONSTANT = -32768\r\n"))
    valid = np.where(values == -32768, 0, values)
    black = int(values[values > -32768].min())
    np.testing.assert_array_equal(
        np.delete(shown.reshape(-1, 3), 43, 0), np.delete(root(valid, 4095, black).reshape(-1, 3), 43, 0)
    )
    assert (shown[2, 3] == 0).all()


def test_isis_special_pixels_are_black_or_white() -> None:
    """NULL and low saturation are black, high saturation white; none of them influences the stretch."""
    values = make_scene(1, "u2") + 3
    values[0, 0, :5] = (0, 1, 2, 65534, 65535)
    shown = decode(science_files.make_isis3(values))
    np.testing.assert_array_equal(shown[0, :5, 0], [0, 0, 0, 255, 255])
    np.testing.assert_array_equal(shown[1:], root(values, 4095)[1:])
    reals = make_scene(1, "f4")
    marks = np.array([0xFF7FFFFB, 0xFF7FFFFC, 0xFF7FFFFF], dtype="u4").view("f4")
    reals[0, 0, :5] = (*marks, np.nan, np.inf)
    low, high = np.percentile(reals[np.isfinite(reals) & (reals > -1e30)], (0.1, 99.9))
    shown = decode(science_files.make_isis3(reals))
    np.testing.assert_array_equal(shown[0, :5, 0], [0, 0, 255, 0, 0])
    assert np.abs(shown[1:] - root(reals, high - low, low)[1:]).max() <= 1


@pytest.mark.parametrize(
    ("constant", "dtype", "value"),
    [
        ("16#FFFF#", "u2", 65535),
        ("16#FF7FFFFB#", "f4", -3.4028226550889045e38),
        ("(7, 7)", "u1", 7),
        ('"NULL"', "u2", None),
    ],
)
def test_spellings_of_missing_constants(constant: str, dtype: str, value: float | None) -> None:
    """Radix numbers, bits of reals, lists, and NULL for none."""
    values = make_scene(1, dtype)
    if value is not None:
        values[0, 4, 4] = value
    shown = decode(science_files.make_pds3(values, extra=f"  MISSING_CONSTANT = {constant}\r\n"))
    assert (shown[4, 4] == 0).all() == (value is not None)
    rest = np.delete(values.reshape(-1), 4 * W + 4).reshape(1, 1, -1)
    ours = np.delete(shown.reshape(-1, 3), 4 * W + 4, 0)
    assert np.abs(ours - expected(rest)[0]).max() <= int(dtype == "f4")


def test_special_pixels_of_one_band_leave_the_others() -> None:
    """They are black or white in that band alone: a pure red is red."""
    values = make_scene(3, "i2")
    values[:, 2, 2] = (4000, -32768, -32764)
    values[:, 2, 3] = -32768
    shown = decode(science_files.make_isis3(values))
    np.testing.assert_array_equal(shown[2, 2], [root(values[:1], 4095)[2, 2, 0], 0, 255])
    np.testing.assert_array_equal(shown[2, 3], [0, 0, 0])
    np.testing.assert_array_equal(
        decode(science_files.make_pds3(np.full((3, H, W), [[[200]], [[0]], [[0]]], "u1")))[0, 0], [200, 0, 0]
    )


def test_constant_and_empty_images_are_decoded() -> None:
    """One value everywhere, or none."""
    for values in (np.full((1, H, W), 3, "f4"), np.full((1, H, W), np.nan, "f4"), np.zeros((1, H, W), "i2")):
        assert decode(science_files.make_vicar(values)).shape == (H, W, 3)


@pytest.mark.parametrize("make", [science_files.make_vicar, science_files.make_isis3, science_files.make_tiff])
@pytest.mark.parametrize("at_least", [8, 20, 500])
def test_a_large_frame_may_be_decoded_smaller(make: Callable[[Array], bytes], at_least: int) -> None:
    """The short side keeps at least twice `at_least` pixels, and the picture is the same."""
    y, x = np.mgrid[:230, :310]
    values = (2000 + 1500 * np.sin(x / 40) * np.cos(y / 30))[None].astype(
        "i2" if make is science_files.make_vicar else "u2"
    )
    small, whole = decode(make(values), at_least=at_least), decode(make(values))
    assert min(small.shape[:2]) >= min(2 * at_least, 230)
    assert min(small.shape[:2]) < 4 * at_least or small.shape == whole.shape
    factor = max(230 // (2 * at_least), 1) if small.shape != whole.shape else 1  # Pillow decodes a TIFF whole
    np.testing.assert_array_equal(small, np.asarray(Image.fromarray(whole).reduce(factor)))


def test_a_frame_of_several_strips_is_seamless() -> None:
    """Millions of pixels are stretched and demosaiced strip by strip, with the same result."""
    values = np.random.default_rng(0).integers(0, 4000, (1, 2501, 1301)).astype("u2")
    values[0, 0, 0] = 4095
    data = science_files.make_pds3(values)
    np.testing.assert_array_equal(decode(data)[..., 0], root(values, 4095)[..., 0])
    whole = demosaic.demosaic(values[0], "GBRG")
    shown = decode(data, bayer_pattern="GBRG").astype(int)
    assert np.abs(shown - root(whole.transpose(2, 0, 1), 4095)).max() <= 1


def test_one_band_is_demosaiced_if_a_bayer_pattern_is_given() -> None:
    """A file of three bands is in color already."""
    color = np.empty((H, W, 3))
    color[:] = (300, 900, 2000)
    mosaic = np.empty((1, H, W), "u2")
    mosaic[0, ::2, ::2], mosaic[0, 1::2, 1::2] = 300, 2000
    mosaic[0, ::2, 1::2] = mosaic[0, 1::2, ::2] = 900
    for data in (science_files.make_pds3(mosaic), science_files.make_tiff(mosaic), science_files.make_png16(mosaic)):
        np.testing.assert_array_equal(
            decode(data, bayer_pattern="RGGB")[0, 0], root(color.transpose(2, 0, 1), 4095)[0, 0]
        )
        assert np.ptp(decode(data)[0, 0]) == 0
    three = science_files.make_pds3(make_scene(3))
    np.testing.assert_array_equal(decode(three, bayer_pattern="RGGB"), decode(three))


# ------------------------------------------------------------------------------------------- the header


def test_identify_reads_labels() -> None:
    """Format, size, type and the label's fields, units separate, without pixels."""
    head = 'INSTRUMENT_ID = MAST_LEFT\r\nMSL:LOCAL_MEAN_SOLAR_TIME = "Sol-03039M14:00:29.161"\r\nPLANET_DAY_NUMBER = 3039\r\n'
    head += "EXPOSURE_DURATION = 12.5 <ms>\r\n"
    info = identify(science_files.make_pds3(make_scene(3, "u2"), head=head))
    assert (info.format, info.width, info.height, info.mode) == ("PDS3", W, H, "uint16x3")
    header = json.loads(info.header)
    assert header["PLANET_DAY_NUMBER"] == 3039
    assert (header["INSTRUMENT_ID"], header["EXPOSURE_DURATION"], header["EXPOSURE_DURATION_UNIT"]) == (
        "MAST_LEFT",
        12.5,
        "ms",
    )
    assert header["IMAGE"]["SAMPLE_BITS"] == 16
    more = "PROPERTY='IDENTIFICATION' INSTRUMENT_ID='NAVCAM_LEFT' PLANET_DAY_NUMBER=629 FRAME_ID='A = B'"
    info = identify(science_files.make_vicar(make_scene(1, "i2"), extra=more))
    assert (info.format, info.mode) == ("VICAR", "int16x1")
    identification = json.loads(info.header)["PROPERTY"]["IDENTIFICATION"]
    assert (identification["INSTRUMENT_ID"], identification["PLANET_DAY_NUMBER"], identification["FRAME_ID"]) == (
        "NAVCAM_LEFT",
        629,
        "A = B",
    )
    info = identify(science_files.make_isis3(make_scene(1, "f4")))
    assert json.loads(info.header)["IsisCube"]["Instrument"]["SpacecraftName"] == "MARS_RECONNAISSANCE_ORBITER"
    assert json.loads(identify(science_files.make_isis2(make_scene())).header)["SPACECRAFT_NAME"] == "VIKING_ORBITER_1"


def test_fields_of_a_pds4_label_are_flat() -> None:
    """Elements by name, with names of their own for mission, host, instrument and motion counters; the first counts."""
    more = """<img:Imaging><img:Sampling><img:companding_state>Companded</img:companding_state></img:Sampling>
      <img:Commanded><img:companding_state>None</img:companding_state></img:Commanded>
      <c><Motion_Counter_Index><index_id>SITE</index_id><index_value_number>30</index_value_number>
      </Motion_Counter_Index></c></img:Imaging>"""
    label = science_files.make_pds4_label(make_scene(1, "u2"), "x.img", extra=more)
    info = identify(
        science_files.make_zip({"x.xml": label, "x.img": science_files.make_pds3_data(make_scene(1, "u2"))})
    )
    assert (info.format, info.width, info.height, info.mode) == ("PDS4", W, H, "uint16x1")
    header = json.loads(info.header)
    assert (header["mission_name"], header["instrument_host_name"], header["instrument_name"]) == (
        "Mars 2020 Rover Mission",
        "Perseverance",
        "MCZ_LEFT",
    )
    assert (header["companding_state"], header["SITE"], header["version_id"]) == ("Companded", "30", "1.0")
    assert header["start_date_time"] == "2021-02-22T20:41:55.833Z"


def test_identify_reads_tags_and_exif() -> None:
    """EXIF of photos, tags of TIFF, text of PNG, as JSON of text and numbers."""
    exif = Image.Exif()
    exif[271], exif[306] = "Maker", "2021:02:22 20:41:55"
    exif.get_ifd(0x8769)[33434] = IFDRational(1, 50)
    sink = io.BytesIO()
    Image.new("RGB", (4, 4)).save(sink, "JPEG", exif=exif, comment=b"Sol 7")
    header = json.loads(identify(sink.getvalue()).header)
    assert (header["Make"], header["DateTime"], header["comment"]) == ("Maker", "2021:02:22 20:41:55", "Sol 7")
    assert header["ExposureTime"] == pytest.approx(0.02)
    assert (
        json.loads(identify(science_files.make_tiff(make_scene(), ascii_tags={270: b"A rock"})).header)[
            "ImageDescription"
        ]
        == "A rock"
    )
    text = science_files.make_png_chunk(b"tEXt", b"Title\0Dune")
    assert json.loads(identify(science_files.make_png16(make_scene(1, "u2"), text)).header)["Title"] == "Dune"


def test_a_header_is_bounded() -> None:
    """Of a label of megabytes 64 kB are kept, whole fields, valid JSON."""
    head = "".join(f'NOTE_{i:05d} = "{"x" * 90}"\r\n' for i in range(4000))
    header = identify(science_files.make_pds3(make_scene(), head=head)).header
    assert 50_000 < len(header) <= 65536
    assert json.loads(header)["NOTE_00001"] == "x" * 90


# ---------------------------------------------------------------------------------------------- hostile


def refusal_reason(data: bytes) -> str:
    """The reason for which decode and identify refuse a file, the same."""
    reasons = []
    for function in (decode, identify):
        with pytest.raises(Unreadable) as caught:
            function(data)
        assert not caught.value.retryable
        reasons.append(str(caught.value))
    assert 0 < len(reasons[0]) < 300
    assert "\n" not in reasons[0]
    assert "vsimem" not in reasons[0]
    return reasons[0]


PRODUCTS: dict[str, Callable[[Array], bytes]] = {
    "vicar": science_files.make_vicar,
    "pds3": science_files.make_pds3,
    "detached": lambda v: science_files.make_zip(
        {"x.lbl": science_files.make_pds3_label(v, '("X.IMG", 1)'), "X.IMG": science_files.make_pds3_data(v)}
    ),
    "pds4": lambda v: science_files.make_zip(
        {"x.xml": science_files.make_pds4_label(v, "x.img"), "x.img": science_files.make_pds3_data(v)}
    ),
    "isis3": science_files.make_isis3,
    "tiled": lambda v: science_files.make_isis3(v, (8, 8)),
    "isis2": science_files.make_isis2,
    "tiff": science_files.make_tiff,
    "png": lambda v: science_files.make_png16(np.repeat(v, 3, axis=0).astype("u2")),
}


def truncate(name: str, by: int) -> bytes:
    """A product whose data lack their last bytes."""
    values = make_scene(1, "i2")
    if name == "detached":
        return science_files.make_zip(
            {
                "x.lbl": science_files.make_pds3_label(values, '("X.IMG", 1)'),
                "X.IMG": science_files.make_pds3_data(values)[:-by],
            }
        )
    if name == "pds4":
        return science_files.make_zip(
            {
                "x.xml": science_files.make_pds4_label(values, "x.img"),
                "x.img": science_files.make_pds3_data(values)[:-by],
            }
        )
    return PRODUCTS[name](values)[:-by]


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("by", [1, 100, 2 * H * W - 2])
def test_truncated_data_are_refused(name: str, by: int) -> None:
    """GDAL would read missing samples as 0."""
    if name == "png":
        by = min(max(by, 20), 100)
        with pytest.raises(Unreadable, match=r"truncated|damaged"):
            decode(truncate(name, by))
    elif name == "tiff":
        with pytest.raises(Unreadable):
            decode(truncate(name, by))
    else:
        assert refusal_reason(truncate(name, by)).startswith("truncated")


ABSURD = [
    lambda d: d.replace(b"NL=12", b"NL=120000").replace(b"NS=20", b"NS=200000"),
    lambda d: d.replace(b"LINES = 12", b"LINES = 999999").replace(b"LINE_SAMPLES = 20", b"LINE_SAMPLES = 999999"),
    lambda d: d.replace(b"<elements>12<", b"<elements>999999<").replace(b"<elements>20<", b"<elements>999999<"),
    lambda d: d.replace(b"Samples = 20", b"Samples = 999999").replace(b"Lines   = 12", b"Lines   = 999999"),
    lambda d: d.replace(b"(20,12,1)", b"(999999,999999,9)"),
    lambda d: d.replace(b"BANDS = 1", b"BANDS = 60000"),
    lambda d: d.replace(b"LINES = 12", b"LINES = -12"),
    lambda d: d.replace(b"LINES = 12", b"LINES = 0"),
    lambda d: d.replace(b"NB=1", b"NB=2147483647"),
    lambda d: d.replace(b"Bands   = 1", b"Bands   = 2147483647"),
    lambda d: d.replace(b"TileSamples = 8", b"TileSamples = 0"),
    lambda d: d.replace(b"^IMAGE = ", b"^IMAGE = 999999999"),
    lambda d: d.replace(b"RECORD_BYTES = ", b"RECORD_BYTES = 99999999999999999999"),
    lambda d: d.replace(b">0</offset>", b">99999999999</offset>"),
    lambda d: d.replace(b"StartByte   = ", b"StartByte   = 99999999"),
    lambda d: d.replace(b"^QUBE = 5", b"^QUBE = 555555"),
    lambda d: d.replace(b"SAMPLE_BITS = 8", b"SAMPLE_BITS = 7"),
    lambda d: d.replace(b"BAND_SEQUENTIAL", b"BAND_SIDEWAYS").replace(b"BANDS = 1", b"BANDS = 2"),
]


@pytest.mark.parametrize("number", range(len(ABSURD)))
def test_absurd_labels_are_refused(number: int) -> None:
    """Huge, zero or negative sizes, offsets beyond the end, unknown types and orders; before data are read."""
    touched = 0
    values = make_scene()
    for name in ("vicar", "pds3", "isis3", "tiled", "isis2"):
        data = PRODUCTS[name](values)
        if (absurd := ABSURD[number](data)) != data:
            touched += bool(refusal_reason(absurd))
    label, data = science_files.make_pds4_label(values, "x.img"), science_files.make_pds3_data(values)
    if (absurd := ABSURD[number](label)) != label:
        touched += bool(refusal_reason(science_files.make_zip({"x.xml": absurd, "x.img": data})))
    assert touched


@pytest.mark.parametrize(
    "path_form", ["{}", "../..{}", "../../..{}", "./../..{}", "X.IMG/../../..{}", "file://{}", "/vsizip/{}"]
)
def test_a_label_cannot_make_other_files_readable(path_form: str, tmp_path: Path) -> None:
    """Whatever path it names as its data's."""
    values = make_scene(1, "u2")
    secret = tmp_path / "secret.img"
    secret.write_bytes(science_files.make_pds3_data(values))
    name = path_form.format(secret)
    detached = science_files.make_pds3_label(values, f'("{name}", 1)')
    core = science_files.make_isis3(values).replace(
        b"StartByte   = 65537", b'StartByte = 1\n    ^Core = "%s"' % name.encode()
    )
    qube = science_files.make_isis2(make_scene(1, "i2")).replace(b"^QUBE = 5", b'^QUBE = ("%s", 1)' % name.encode())
    jp2 = (
        science_files.make_pds3(values)
        .replace(
            b"OBJECT = IMAGE",
            b'OBJECT = COMPRESSED_FILE\r\n FILE_NAME = "%s"\r\nEND_OBJECT\r\nOBJECT = IMAGE' % name.encode(),
        )
        .replace(b"^IMAGE =", b"ENCODING_TYPE = JP2\r\n^IMAGX =")
    )
    for data in (
        detached,
        science_files.make_zip({"x.lbl": detached}),
        science_files.make_zip({"x.lbl": detached, "y.img": b"no"}),
        core,
        qube,
        jp2,
    ):
        with pytest.raises(Unreadable):
            decode(data)
    assert (
        "folder"
        in refusal_reason(
            science_files.make_zip({"x.xml": science_files.make_pds4_label(values, name), "x.img": b"no"})
        )
        or "/" not in name
    )


def test_a_label_without_its_data_is_refused() -> None:
    """The reason names the missing file."""
    values = make_scene(1, "u2")
    assert "X.IMG" in refusal_reason(science_files.make_pds3_label(values, '("X.IMG", 1)'))
    assert "x.img" in refusal_reason(science_files.make_zip({"x.xml": science_files.make_pds4_label(values, "x.img")}))
    assert refusal_reason(science_files.make_pds4_label(values, "x.img")) == "a PDS4 label without its data"


BOMB = '<!DOCTYPE z [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "prolog",
    [
        BOMB + "]>",
        '<!DOCTYPE z [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE z SYSTEM "http://127.0.0.1:9/z.dtd">',
    ],
)
def test_xml_document_types_are_refused(prolog: str) -> None:
    """Billion laughs, external entities, remote document types."""
    label = science_files.make_pds4_label(make_scene(), "x.img", prolog=prolog, extra="<z>&i;</z>")
    assert "document type" in refusal_reason(
        science_files.make_zip({"x.xml": label, "x.img": science_files.make_pds3_data(make_scene())})
    )


def test_deep_or_broken_xml_is_refused() -> None:
    """A hundred thousand levels; an open element; an unknown encoding."""
    label = science_files.make_pds4_label(make_scene(), "x.img")
    for damaged in (
        label.replace(b"<disp:Display_Settings>", b"<disp:Display_Settings>" + b"<a>" * 100_000),
        label[:-40],
        label.replace(b"UTF-8", b"KOI-Z"),
    ):
        assert "label" in refusal_reason(
            science_files.make_zip({"x.xml": damaged, "x.img": science_files.make_pds3_data(make_scene())})
        )


def test_zips_that_are_not_a_product_are_refused() -> None:
    """Compressed members (bombs), no label, folders, damage."""
    bomb = science_files.make_zip(
        {"x.lbl": science_files.make_pds3_label(make_scene(), '"X.IMG"'), "X.IMG": bytes(10**7)}, zipfile.ZIP_DEFLATED
    )
    assert "not a product" in refusal_reason(bomb)
    assert "not a product" in refusal_reason(science_files.make_zip({"x.jpg": b"\xff\xd8\xff"}))
    assert "folder" in refusal_reason(science_files.make_zip({"x.lbl": b"PDS_VERSION_ID = PDS3", "../X.IMG": b""}))
    assert "zip" in refusal_reason(science_files.make_zip({"x.lbl": b"PDS_VERSION_ID = PDS3"})[:-9])
    assert "zip" in refusal_reason(b"PK\x03\x04")


def test_a_tiff_with_an_external_overview_is_refused(tmp_path: Path) -> None:
    """GDAL's metadata in a TIFF can name another file as its overview."""
    values = np.full((1, 400, 400), 900, "f4")
    values[0, :200] = 100
    other = tmp_path / "other.tif"
    other.write_bytes(science_files.make_tiff(np.full((1, 200, 200), 5000, "f4")))
    xml = f'<GDALMetadata><Item name="OVERVIEW_FILE" domain="OVERVIEWS">{other}</Item></GDALMetadata>'
    data = science_files.make_tiff(values, ascii_tags={42112: xml.encode()})
    with pytest.raises(Unreadable, match="outside its folder"):
        decode(data, at_least=20)
    values[0, 0, 0] = 7
    same_file = science_files.make_tiff(values, ascii_tags={42112: xml.replace(str(other), "nowhere.tif").encode()})
    assert decode(same_file, at_least=20).shape == (40, 40, 3)


def test_a_crash_of_the_reader_costs_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that dies or is too slow is replaced, and the reason says so."""
    good = science_files.make_pds3(make_scene())
    check_pixels(good, make_scene())
    for reader in science_formats._idle_readers:
        reader.process.kill()
        reader.process.wait()
    check_pixels(good, make_scene())
    reader = science_formats._GdalReader()
    assert reader.process.stdout
    assert reader.process.stdout.readline() == science_formats.READY_LINE
    reader.is_ready = True
    monkeypatch.setattr(science_formats, "_acquire_reader", lambda: reader)
    reader.process.send_signal(14)  # as its own alarm does
    with pytest.raises(Unreadable, match="too long"):
        decode(good)
    monkeypatch.undo()
    check_pixels(good, make_scene())


def test_a_killed_reader_is_replaced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been killed for lack of memory: the image is read again, and stays retryable."""
    readers = [science_formats._GdalReader() for _ in range(3)]
    for reader in readers:
        reader.process.kill()
    monkeypatch.setattr(science_formats, "_acquire_reader", lambda: readers.pop())
    with pytest.raises(Unreadable, match="SIGKILL") as caught:
        decode(science_files.make_pds3(make_scene()))
    assert caught.value.retryable
    assert len(readers) == 1


def test_a_reader_that_cannot_start_is_retryable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says that it did not start."""
    monkeypatch.setattr(science_formats, "_idle_readers", [])
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(Unreadable, match="could not be started") as caught:
        decode(science_files.make_pds3(make_scene()))
    assert caught.value.retryable


def test_threads_can_decode_at_once() -> None:
    """Eight threads, several formats, always the right picture."""
    failures: list[object] = []

    def work(number: int) -> None:
        for name in list(PRODUCTS)[number % 3 :: 3] * 2:
            values = make_scene() if name != "png" else make_scene(1, "u2")
            try:
                picture = np.repeat(values, 3, axis=0) if name == "png" else values
                check_pixels(PRODUCTS[name](values), picture)
            except (AssertionError, Unreadable) as error:
                failures.append((name, error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_without_rasterio_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's formats still work; the others are retryable."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unreadable, match=r"interpdisc\[rover\]") as caught:
        decode(science_files.make_vicar(make_scene()))
    assert caught.value.retryable
    check_pixels(science_files.make_png16(make_scene(1, "u2")), make_scene(1, "u2"))


def test_a_reader_ends_with_its_parent() -> None:
    """kill -9 of a worker leaves no reader."""
    work = "from tests.images import test_science_formats as t; from interpdisc_core.images import decode, science_formats\n"
    work += "decode.decode(t.science_files.make_pds3(t.make_scene())); print(science_formats._idle_readers[0].process.pid, flush=True); import time; time.sleep(60)"
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen([sys.executable, "-c", work], stdout=subprocess.PIPE, cwd=root)
    assert parent.stdout
    reader = int(parent.stdout.readline())
    assert is_alive(reader)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 20
    while is_alive(reader) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_alive(reader)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_reader_has_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor anything else of this process's environment."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("PREFECT_API_KEY", "hush")
    reader = science_formats._GdalReader()
    try:
        environment = Path(f"/proc/{reader.process.pid}/environ")
        if not environment.exists():
            pytest.skip("no /proc here")
        assert b"hush" not in environment.read_bytes()
    finally:
        reader.stop()


# ------------------------------------------------------------------------------------------ whatever bytes

SEEDS = [make(make_scene(1, "i2")) for make in PRODUCTS.values()]


def check_settles(data: bytes) -> None:
    """Either pixels or Unreadable."""
    with mock.patch.object(decode_module, "MAX_PIXELS", 10**6):
        try:
            identify(data)
            pixels = decode(data)
        except Unreadable:
            return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert min(pixels.shape) >= 1
    assert pixels.dtype == np.uint8


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    st.floats(0.5, 1),
)
def test_corrupted_products_give_pixels_or_unreadable(
    seed: bytes, changes: list[tuple[float, int]], kept_fraction: float
) -> None:
    """Bytes changed, most of them in the label, and the end removed."""
    data = bytearray(seed)
    for place, value in changes:
        data[int(place**3 * min(len(data), 3000))] = value
    check_settles(bytes(data[: int(kept_fraction * len(data))]))


@given(
    st.sampled_from(
        [
            b"LBLSIZE=",
            b"PDS_VERSION_ID = PDS3\r\n",
            b"Object = IsisCube\n",
            b"SFDU\r\n^QUBE = 5\r\n",
            b"PK\x03\x04",
            b"II*\0",
        ]
    ),
    st.binary(max_size=300),
)
def test_any_bytes_after_a_signature_give_pixels_or_unreadable(prefix: bytes, rest: bytes) -> None:
    """Arbitrary bytes instead of a label."""
    check_settles(prefix + rest)


NUMBER = st.sampled_from(
    ["0", "-1", "1", "2", "7", "255", "65536", "2147483648", "99999999999999999999", "1e9", "N/A", '"x"', "(1,2", ""]
)


@given(st.sampled_from([0, 1, 4, 6]), st.lists(st.tuples(st.integers(0, 30), NUMBER), min_size=1, max_size=3))
def test_changed_labels_give_pixels_or_unreadable(which: int, changes: list[tuple[int, str]]) -> None:
    """Values of a text label replaced, which makes some drivers crash."""
    data = SEEDS[which]
    head, rest = data[:1500], data[1500:]
    words = head.split(b" " if which == 0 else b"\n")
    for place, value in changes:
        name, equals, _ = words[place % len(words)].partition(b"=")
        if equals:
            words[place % len(words)] = name + b"=" + value.encode()
    check_settles((b" " if which == 0 else b"\n").join(words) + rest)
