"""Samples of PDS3 images are read as their labels say, or refused: whole numbers, byte orders, bytes around the lines."""

import re

import numpy as np
import numpy.typing as npt
import pytest

from interpdisc_core.errors import Unreadable
from interpdisc_core.images.decode import decode, identify
from tests.helpers.science_files import make_pds3, make_pds3_data, make_pds3_label, make_vicar, make_zip

H, W = 12, 20


def make_scene(dtype: str, bands: int = 1) -> npt.NDArray[np.generic]:
    """(bands, 12, 20), no two corners alike; signed types have negative values."""
    y, x = np.mgrid[:H, :W]
    base = (8 * y + 2 * x)[None] + 20 * np.arange(bands)[:, None, None]
    if np.dtype(dtype).kind == "i":
        base = base - 60
    return (base if np.dtype(dtype).itemsize == 1 else base * 257).astype(dtype)


def render_with_gdal(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """The same values as a product that GDAL reads rightly: the oracle of what NumPy reads."""
    if values.dtype.itemsize == 4 and values.dtype.kind in "iu":
        return decode(make_vicar(values.astype("i4")))
    if values.dtype == np.int8:  # which keeps its steps, with the least value as black
        return decode(make_pds3((values.astype("i2") - values.astype("i2").min()).astype("u1")))
    return decode(make_pds3(values))


def make_product(
    values: npt.NDArray[np.generic], word: str, order: str = ">", org: str = "BSQ", extra: str = ""
) -> bytes:
    """A detached label whose SAMPLE_TYPE is `word` (empty: it has none), and its data."""
    label = make_pds3_label(values, '"X.IMG"', org, extra=extra)
    label = re.sub(rb"  SAMPLE_TYPE = \w+\r\n", f"  SAMPLE_TYPE = {word}\r\n".encode() if word else b"", label)
    return make_zip({"x.lbl": label, "X.IMG": make_pds3_data(values, org, order=order)})


@pytest.mark.parametrize(
    ("word", "dtype"),
    [
        ("MSB_INTEGER", ">i1"),
        ("MSB_INTEGER", ">i4"),
        ("MSB_UNSIGNED_INTEGER", ">u4"),
        ("LSB_INTEGER", "<i4"),
        ("LSB_UNSIGNED_INTEGER", "<u4"),
        ("UNSIGNED_INTEGER", ">u2"),
        ("INTEGER", ">i2"),
        ("SUN_INTEGER", ">i2"),
        ("MAC_UNSIGNED_INTEGER", ">u2"),
        ("PC_INTEGER", "<i2"),
        ("PC_UNSIGNED_INTEGER", "<u2"),
        ("VAX_INTEGER", "<i4"),
        ("VAX_UNSIGNED_INTEGER", "<u2"),
        ("REAL", ">f4"),
        ("SUN_REAL", ">f8"),
        ("PC_REAL", "<f4"),
    ],
)
@pytest.mark.parametrize("org", ["BSQ", "BIL", "BIP"])
def test_sample_types_of_the_standard_give_their_values(word: str, dtype: str, org: str) -> None:
    """The names and aliases of PDS3's list of data types."""
    values = make_scene(dtype.lstrip("<>"), bands=3)
    shown = decode(make_product(values, word, dtype[0], org))
    np.testing.assert_array_equal(shown, render_with_gdal(values))


@pytest.mark.parametrize("word", ["VAX_REAL", "VAXG_REAL", "COMPLEX", "BIT_STRING", "IEEE_INTEGER", ""])
def test_other_sample_types_are_refused(word: str) -> None:
    """Without a type, the byte order is not known."""
    with pytest.raises(Unreadable, match=word or "no SAMPLE_TYPE"):
        decode(make_product(make_scene("u2"), word))


def test_bytes_need_no_sample_type() -> None:
    """They have no byte order."""
    values = make_scene("u1")
    np.testing.assert_array_equal(decode(make_product(values, "")), decode(make_pds3(values)))


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize(("org", "bands"), [("BSQ", 1), ("BSQ", 3), ("BIP", 3)])
@pytest.mark.parametrize(("prefix", "suffix"), [(8, 0), (0, 6), (4, 12)])
def test_bytes_around_lines_are_not_samples(dtype: str, org: str, bands: int, prefix: int, suffix: int) -> None:
    """LINE_PREFIX_BYTES and LINE_SUFFIX_BYTES; a picture of them would be sheared."""
    values = make_scene(dtype, bands)
    extra = f"  LINE_PREFIX_BYTES = {prefix}\r\n  LINE_SUFFIX_BYTES = {suffix}\r\n"
    data = pad_lines(make_pds3_data(values, org), H * (bands if org == "BSQ" else 1), prefix, suffix)
    label = make_pds3_label(values, '"X.IMG"', org, extra=extra)
    shown = decode(make_zip({"x.lbl": label, "X.IMG": data}))
    np.testing.assert_array_equal(shown, decode(make_pds3(values, org)))
    for function in (decode, identify):
        with pytest.raises(Unreadable, match="truncated"):
            function(make_zip({"x.lbl": label, "X.IMG": data[: -suffix - 1]}))


def test_lines_that_fill_records_are_read_without_their_padding() -> None:
    """Records as many as lines and longer than these, and no keyword that says so."""
    values = make_scene("u2")
    label = make_pds3_label(values, '("X.IMG", 3)').replace(b"RECORD_BYTES = 20", b"RECORD_BYTES = 64")
    data = b"\xee" * 128 + pad_lines(make_pds3_data(values), H, 0, 24)
    np.testing.assert_array_equal(decode(make_zip({"x.lbl": label, "X.IMG": data})), decode(make_pds3(values)))


def test_bytes_around_lines_of_interleaved_bands_are_refused() -> None:
    """Labels do not say whether they are around the lines of each band."""
    values = make_scene("u1", 3)
    label = make_pds3_label(values, '"X.IMG"', "BIL", extra="  LINE_SUFFIX_BYTES = 4\r\n")
    with pytest.raises(Unreadable, match="interleaved by line with bytes"):
        decode(make_zip({"x.lbl": label, "X.IMG": pad_lines(make_pds3_data(values, "BIL"), 3 * H, 0, 4)}))


def test_the_label_of_a_browse_image_is_not_that_of_the_image() -> None:
    """Each object has its own sample type."""
    values = make_scene("i4")
    browse = "OBJECT = BROWSE_IMAGE\r\n  SAMPLE_TYPE = LSB_INTEGER\r\n  SAMPLE_BITS = 16\r\n"
    browse += "  LINE_PREFIX_BYTES = 7\r\nEND_OBJECT = BROWSE_IMAGE\r\n"
    label = make_pds3_label(values, '"X.IMG"', head=browse)
    shown = decode(make_zip({"x.lbl": label, "X.IMG": make_pds3_data(values)}))
    np.testing.assert_array_equal(shown, render_with_gdal(values))


def pad_lines(data: bytes, lines: int, prefix: int, suffix: int) -> bytes:
    """Bytes before and after each line that would be seen."""
    rows = np.frombuffer(data, np.uint8).reshape(lines, -1)
    return np.pad(rows, ((0, 0), (prefix, suffix)), constant_values=0xEE).tobytes()
